"""Trackers: what they are told, that an offline W&B run can be read back, and that no failure of
theirs fails a run.
"""

import json

import pytest

from harness.trackers import base as trackers

SMALL = [
    "suite=mini_gqa",
    "limit=8",
    "method=luq",
    "method.k=1",
    "calibration.tokens=512",
    "entropy.clusters=8",
    "entropy.seeds=2",
]

PLAIN = SMALL[:2] + SMALL[4:]


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def wandb_records(folder):
    """The records of an offline run, by W&B's own reader of its files."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        store = DataStore()
        store.open_for_scan(str(path))
        while (data := store.scan_data()) is not None:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found.append(record)
    return found


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


def test_an_offline_wandb_run_can_be_read_back_and_is_taken_up_again_by_its_id(
    run, tmp_path, narrow_model, monkeypatch
):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    both = [f"model.path={narrow_model}", "tracker=wandb", "suite.tasks=[mini_gqa,mini_pope]"]
    code, text = run(*PLAIN, *both, "+sweep=first_look", "cell='method=gptq4'")
    assert code == 0, text
    folder = tmp_path / "runs" / "tracking" / "wandb"
    found = wandb_records(folder)
    opened = {record.run.job_type: record.run for record in found if record.HasField("run")}
    assert set(opened) >= {"evaluate", "report"}
    assert opened["evaluate"].run_group == "first_look"
    assert opened["evaluate"].project == "luq-harness"
    settings = {item.key: json.loads(item.value_json) for item in opened["evaluate"].config.update}
    assert settings["method.high.bits"] == 4
    history = {
        item.key or "/".join(item.nested_key): item.value_json
        for r in found
        if r.HasField("history")
        for item in r.history.item
    }
    low, score, high = (
        float(history[f"mini_gqa/exact_match{part}"]) for part in ("_low", "", "_high")
    )
    assert low <= score <= high
    assert float(history["stored_bits"]) == pytest.approx(4.156, abs=0.01)
    assert "mini_pope/pope_mean_f1" in history
    assert history["blocks/_type"] == '"table-file"'
    assert history["Score against size/_type"] == '"html-file"'
    assert run(*PLAIN, *both, "method=gptq4", "limit=10")[0] == 0
    assert len(list(folder.glob("wandb/offline-run-*"))) > 2


@pytest.mark.parametrize("where", ["open", "scalars", "finish"])
def test_r29_a_tracker_that_fails_is_told_and_fails_nothing(
    run, tmp_path, narrow_model, monkeypatch, where
):
    def fail(*_args, **_options):
        raise OSError("the tracking server is down")

    target = (
        "harness.trackers.jsonl.open_tracker"
        if where == "open"
        else f"harness.trackers.jsonl.JsonLines.{where}"
    )
    monkeypatch.setattr(target, fail)
    code, text = run(*PLAIN, f"model.path={narrow_model}", "tracker=jsonl", "method=rtn4")
    assert code == 0
    assert (
        "tracker jsonl failed and is left out from here on: OSError: the tracking server is down"
        in text
    )
    assert "rtn4 on GQA: done" in text


@pytest.mark.parametrize("name", ["mlflow", "../jsonl", "__init__"])
def test_a_tracker_that_there_is_not_is_refused(run, narrow_model, name):
    code, text = run(*SMALL, f"model.path={narrow_model}", f"tracker.name={name}")
    assert code == 2
    assert "choose one of jsonl, none, wandb" in text


def test_another_tracker_is_one_file(run, tmp_path, narrow_model, monkeypatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "lines.py").write_text("from harness.trackers.jsonl import open_tracker\n")
    monkeypatch.setattr("harness.trackers.__path__", [str(trackers.FOLDER), str(tmp_path / "more")])
    monkeypatch.setattr("harness.config.schema.known_trackers", lambda: ["lines", "none"])
    assert run(*SMALL, f"model.path={narrow_model}", "tracker.name=lines")[0] == 0
    assert list((tmp_path / "runs" / "tracking" / "lines").glob("*.jsonl"))


def test_r29_no_secret_of_the_environment_reaches_store_or_tracker(
    run, tmp_path, narrow_model, monkeypatch
):
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sekrit-0123456789")
    assert run(*SMALL, f"model.path={narrow_model}", "tracker=jsonl")[0] == 0
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in files if b"sekrit-0123456789" in path.read_bytes()]
