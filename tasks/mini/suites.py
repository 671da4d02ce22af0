"""`python -m tasks.mini.suites --out FOLDER`: the nine mini suites as data sets on disk.

They have the columns of the real ones. lmms-eval's own command line reads them from there; the
harness draws them into its store by itself. Everything is drawn from a seed that training never
uses; words on signs come from the held-out list. Questions that belong together (MME's pairs,
MMBench's circular groups, POPE's six of a picture) are next to each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets

from tasks.mini import rows
from tasks.mini.rows import Drawer, Row

SEED = 20260
SELECTION_SEED = 20261  # of the split that a setting may be chosen by; nothing is reported on it
QUESTIONS = 500
VERSION = 2  # raise it whenever the same seed would draw other questions


@dataclass(frozen=True)
class SuiteRows:
    """How the data set of one suite is drawn.

    Attributes:
        split: Name of the real data set's split.
        rows: Draws at least so many.
        picture: Column of the picture.
    """

    split: str
    rows: Callable[[Drawer, int], Iterator[Row]]
    picture: str = "image"


SUITES: dict[str, SuiteRows] = {
    "mme": SuiteRows("test", rows.mme_rows),
    "mmbench": SuiteRows("dev", rows.mmbench_rows),
    "textvqa": SuiteRows("validation", rows.textvqa_rows),
    "vqav2": SuiteRows("validation", rows.vqav2_rows),
    "gqa": SuiteRows("testdev", rows.gqa_rows),
    "pope": SuiteRows("test", rows.pope_rows),
    "chartqa": SuiteRows("test", rows.chartqa_rows),
    "docvqa": SuiteRows("validation", rows.docvqa_rows),
    "mathvista": SuiteRows("testmini", rows.mathvista_rows, "decoded_image"),
}


def suite_rows(suite: str, count: int, *, seed: int = SEED) -> list[Row]:
    """Draw the rows of one suite.

    Args:
        suite: A name in `SUITES`.
        count: Fewest rows; a pair or group that belongs together is never cut.
        seed: Equal seeds give equal rows.
    """
    return list(SUITES[suite].rows(Drawer(f"{suite}-{seed}-{VERSION}"), count))


def suite_dataset(suite: str, *, count: int = QUESTIONS, seed: int = SEED) -> datasets.DatasetDict:
    """The data set of one suite; arguments as in `suite_rows`."""
    recipe = SUITES[suite]
    table = datasets.Dataset.from_list(suite_rows(suite, count, seed=seed))
    return datasets.DatasetDict({recipe.split: table.cast_column(recipe.picture, datasets.Image())})


def write_suites(folder: Path, *, count: int = QUESTIONS, seed: int = SEED) -> None:
    """Draw every suite into a folder of its name; arguments as in `suite_dataset`."""
    for suite in SUITES:
        suite_dataset(suite, count=count, seed=seed).save_to_disk(folder / suite)


def main() -> None:
    """Write the nine suites."""
    parser = argparse.ArgumentParser(prog="python -m tasks.mini.suites", description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("mini_suites"),
        help="the task files name mini_suites/, below the folder in which lmms-eval is run",
    )
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="of each suite")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    write_suites(arguments.out, count=arguments.questions, seed=arguments.seed)


if __name__ == "__main__":
    main()
