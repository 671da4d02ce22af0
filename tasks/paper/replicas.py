"""`python -m tasks.paper.replicas --out FOLDER`: small stand-ins for the nine real data sets.

The pictures and questions are those of the embedded world; the rows have every column that the real
ones have, in the same types and order, so that `suite=paper suite.data=FOLDER` runs every step
without a network.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import datasets

from tasks.mini import suites as mini
from tasks.mini.rows import Row

SEED = 7


def _textvqa(row: Row) -> Row:
    urls = {
        "flickr_original_url": "https://farm.example/o.jpg",
        "flickr_300k_url": "https://farm.example/z.jpg",
    }
    return {**row, **urls, "question_id": int(row["question_id"])}


def _gqa(row: Row) -> Row:
    nothing = {
        "entailed": "[]",
        "equivalent": "[]",
        "groups": {"global": None, "local": None},
        "annotations": {"answer": [], "question": []},
    }
    types = {**row["types"], "detailed": "relO", "semantic": "rel"}
    steps = [{"operation": "select", "dependencies": [], "argument": "thing"}]
    return {**row, **nothing, "types": types, "semantic": steps, "semanticStr": "select: thing"}


def _chartqa(row: Row) -> Row:
    return {name: row[name] for name in ("type", "question", "answer", "image")}


def _mathvista(row: Row) -> Row:
    metadata = {
        **row["metadata"],
        "category": "general-vqa",
        "context": "synthetic scene",
        "grade": "elementary school",
        "img_height": 64,
        "img_width": 64,
        "source": "CLEVR-Math",
        "task": "visual question answering",
    }
    return {**row, "metadata": metadata}


def _as_it_is(row: Row) -> Row:
    return row


# suite: (task, from a row of the mini suite to one with the columns of the real data set)
REPLICAS: dict[str, tuple[str, Callable[[Row], Row]]] = {
    "mme": ("paper_mme", _as_it_is),
    "mmbench": ("paper_mmbench", _as_it_is),
    "textvqa": ("paper_textvqa", _textvqa),
    "vqav2": ("paper_vqav2", _as_it_is),
    "gqa": ("paper_gqa", _gqa),
    "pope": ("paper_pope", _as_it_is),
    "chartqa": ("paper_chartqa", _chartqa),
    "docvqa": ("paper_docvqa", _as_it_is),
    "mathvista": ("paper_mathvista", _mathvista),
}


def replica(suite: str, count: int, seed: int = SEED) -> datasets.DatasetDict:
    """The data set of one suite, under the name of the real split.

    MMBench's rotations are apart from each other, as in the real one.

    Args:
        suite: A name in `REPLICAS`.
        count: Fewest rows.
        seed: Equal seeds give equal rows.
    """
    rows = [REPLICAS[suite][1](row) for row in mini.suite_rows(suite, count, seed=seed)]
    if suite == "mmbench":
        rows.sort(key=lambda row: row["index"])
    recipe = mini.SUITES[suite]
    return datasets.DatasetDict({recipe.split: _pictures(rows, recipe.picture)})


def unanswered(count: int, seed: int = SEED) -> datasets.DatasetDict:
    """VQAv2's test-dev: questions without answers; arguments as in `replica`."""
    hidden = ("answers", "multiple_choice_answer", "answer_type", "question_type")
    rows = [{**row, **dict.fromkeys(hidden)} for row in mini.suite_rows("vqav2", count, seed=seed)]
    return datasets.DatasetDict({"testdev": _pictures(rows, "image")})


def calibration(count: int, seed: int = SEED + 1) -> datasets.DatasetDict:
    """TextVQA's training split, of other pictures than its replica; arguments as in `replica`."""
    names = (
        {"set_name": "train", "image_id": f"train{i:06d}", "question_id": 1_000_000 + i}
        for i in itertools.count()
    )
    rows = [
        {**_textvqa(row), **name}
        for row, name in zip(mini.suite_rows("textvqa", count, seed=seed), names, strict=False)
    ]
    random.Random(seed).shuffle(rows)
    return datasets.DatasetDict({"train": _pictures(rows, "image")})


def _pictures(rows: Iterable[Row], column: str) -> datasets.Dataset:
    return datasets.Dataset.from_list(list(rows)).cast_column(column, datasets.Image())


def write_replicas(folder: Path, count: int) -> None:
    """Every suite in a folder of its task's name, and `textvqa_train` for calibration."""
    for suite, (task, _) in REPLICAS.items():
        replica(suite, count).save_to_disk(folder / task)
    unanswered(count).save_to_disk(folder / "paper_vqav2_testdev")
    calibration(4 * count).save_to_disk(folder / "textvqa_train")


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(prog="python -m tasks.paper.replicas", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("paper_replicas"))
    parser.add_argument("--questions", type=int, default=24, help="of each suite")
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    write_replicas(arguments.out, arguments.questions)


if __name__ == "__main__":
    main()
