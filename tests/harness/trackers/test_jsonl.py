"""The tracker `jsonl` on a whole run."""

import json

SMALL = [
    "suite=mini_gqa",
    "limit=8",
    "method=luq",
    "method.k=1",
    "calibration.tokens=512",
    "entropy.clusters=8",
    "entropy.seeds=2",
]


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_hold_scores_with_intervals_sizes_layers_and_figures(
    run, tmp_path, narrow_model
):
    code, text = run(*SMALL, f"model.path={narrow_model}", "tracker=jsonl")
    assert code == 0, text
    runs = {
        r[0]["run"]["stage"]: r
        for r in map(records, (tmp_path / "runs" / "tracking" / "jsonl").glob("*.jsonl"))
    }
    assert set(runs) == {"evaluate", "report"}
    lines = runs["evaluate"]
    assert lines[0]["run"]["settings"]["method.low.method"] == "billm"
    (scalars,) = [line["scalars"] for line in lines if "scalars" in line]
    assert (
        scalars["mini_gqa/exact_match_low"]
        <= scalars["mini_gqa/exact_match"]
        <= scalars["mini_gqa/exact_match_high"]
    )
    assert 3 < scalars["stored_bits"] < 4.2
    assert scalars["mini_gqa/errors"] == 0
    (blocks,) = [line for line in lines if line.get("table") == "blocks"]
    assert [row[0] for row in blocks["rows"]] == [0, 1, 2, 3]
    assert sorted(row[1] for row in blocks["rows"]) == ["billm-code", "gptq-4", "gptq-4", "gptq-4"]
    assert lines[-1] == {"finished": True}
    assert any(
        line.get("figure") == "Score against size" and line["svg"].startswith("<svg")
        for line in runs["report"]
    )
