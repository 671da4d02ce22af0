"""What a result keeps for the report: small pictures, blocks with their errors and entropies,
versions and machine.
"""

import io
import json

from PIL import Image

from harness.evaluation.pictures import thumbnails
from reports.report.read import read_store

SMALL = [
    "limit=12",
    "batch_size=4",
    "calibration.tokens=600",
    "entropy.clusters=8",
    "entropy.seeds=2",
]


def test_a_cell_keeps_its_pictures_blocks_and_origin(run, tmp_path, narrow_model):
    code, _ = run(
        *SMALL,
        "suite.tasks=[mini_gqa,mini_pope]",
        f"model.path={narrow_model}",
        "method=luq",
        "method.k=2",
    )
    assert code == 0
    rows, _, problems = read_store(tmp_path / "runs")
    assert not problems
    cell, result = rows[0].cell, rows[0].result
    assert sorted(block.kept for block in cell.blocks) == [
        "billm-code",
        "billm-code",
        "gptq-4",
        "gptq-4",
    ]
    assert all(0 < block.output_error < 1 and block.entropy > 0 for block in cell.blocks)
    low, high = (
        [b.output_error for b in cell.blocks if b.kept == kept] for kept in ("billm-code", "gptq-4")
    )
    assert min(low) > max(high)
    lowest = sorted(range(4), key=lambda i: cell.blocks[i].entropy)[:2]
    assert [i for i, block in enumerate(cell.blocks) if block.kept == "billm-code"] == sorted(
        lowest
    )
    assert {"torch", "lmms-eval", "hardware"} <= set(cell.made_with)
    folder = tmp_path / "runs" / "pictures" / result.pictures
    index = json.loads((folder / "index.json").read_text())
    assert set(index) == {answer.question_id for answer in result.answers}
    for (name,) in index.values():
        assert max(Image.open(folder / name).size) <= thumbnails.SIDE
    page = (tmp_path / "runs" / "report" / "index.html").read_text()
    assert page.count("data:image/webp;base64,") > 12


def test_a_cell_says_the_same_whatever_was_made_before_it(run, tmp_path, narrow_model):
    found = []
    for order in (["rtn3", "gptq4", "luq"], ["luq", "gptq4", "rtn3"]):
        store = tmp_path / order[0]
        for method in order:
            given = ["method.k=2"] if method == "luq" else []
            assert (
                run(
                    *SMALL,
                    "suite.tasks=[mini_gqa]",
                    f"model.path={narrow_model}",
                    f"store={store}",
                    f"method={method}",
                    *given,
                )[0]
                == 0
            )
        cells = {
            path.parent.name: json.loads(path.read_text())
            for path in store.glob("cells/*/cell.json")
        }
        found.append({key: {**cell, "seconds": 0, "command": ""} for key, cell in cells.items()})
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_large_pictures_are_made_small_and_broken_ones_are_left_out(store):
    class Task:
        eval_docs = (1600, None, 20)

        @staticmethod
        def doc_to_visual(doc):
            if doc is None:
                Image.open(io.BytesIO(b"no picture"))
            return [Image.new("RGBA", (doc, doc // 2))]

    class Suite:
        name, data, task = "s", "d", Task

    key = thumbnails.store_thumbnails(store, Suite, 3)
    folder = store.path("pictures", key)
    index = json.loads((folder / "index.json").read_text())
    assert set(index) == {"0", "2"}
    assert Image.open(folder / index["0"][0]).size == (thumbnails.SIDE, thumbnails.SIDE // 2)
    assert Image.open(folder / index["2"][0]).size == (20, 10)
