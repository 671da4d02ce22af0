"""The order of the rows of MME and MMBench, and GQA's pictures, each read when it is needed."""

from __future__ import annotations

import functools
from typing import Any

import datasets
from PIL import Image

ROTATION = 1_000_000  # MMBench numbers the n-th rotation of question i as i + n * ROTATION
GQA = ("lmms-lab-encoder/GQA", "testdev_balanced_images", "testdev")


def mmbench_by_question(rows: datasets.Dataset) -> datasets.Dataset:
    """Sort the rotations of one question next to each other, so that a limit cuts none apart."""
    numbers = [int(number) for number in rows["index"]]
    return rows.select(sorted(range(len(rows)), key=lambda i: (numbers[i] % ROTATION, numbers[i])))


def mme_by_pair(rows: datasets.Dataset) -> datasets.Dataset:
    """Move both questions about a picture next to each other, so that a limit cuts no pair apart.

    Pairs stay in the order of the data.
    """
    names = list(rows["question_id"])
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    return rows.select(sorted(range(len(names)), key=lambda i: (first[names[i]], i)))


@functools.cache
def _gqa_pictures() -> tuple[datasets.Dataset, dict[str, int]]:
    path, name, split = GQA
    rows = datasets.load_dataset(path, name, split=split)
    return rows, {identity: i for i, identity in enumerate(rows["id"])}


def gqa_picture(doc: dict[str, Any]) -> list[Image.Image]:
    """The picture of a row, from the data set of pictures where the row has none."""
    if doc.get("image") is not None:
        return [doc["image"].convert("RGB")]
    rows, places = _gqa_pictures()
    return [rows[places[doc["imageId"]]]["image"].convert("RGB")]
