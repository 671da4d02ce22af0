"""Sources of calibration pictures with questions.

To add one, write a class with the members of `ImageTextSource` and add its name to SOURCES; then
`calibration.image_text=NAME` calibrates on it. A source holds training data only: nothing that a
suite is evaluated on may be in it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import datasets
from loguru import logger
from PIL import Image

from harness.data.hub import load_hub_dataset, require_saved
from harness.data.picture_formats import PICTURE_ERRORS, restrict_pictures
from harness.errors import ConfigError
from harness.store import digest
from tasks.mini import calibration as mini

COLUMNS = ("image", "question", "answer")  # that a saved data set needs
# Columns that name rows and pictures across the splits of one data set.
ID_COLUMNS = ("question_id", "image_id")
TOLD = 3  # of the rows that are left out
# Share of the rows that are held out from calibration, for scores that are measured on answers.
HELD_OUT_SHARE = 0.25


class ImageTextSource(Protocol):
    """Pictures with questions."""

    @property
    def identity(self) -> str:
        """Digest or version of everything that the samples depend on besides the seed.

        Stored statistics are looked up by it.
        """

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns of the data set; empty where samples are generated."""

    @property
    def ids(self) -> Mapping[str, set[str]]:
        """Values that name a row or a picture in every split of the data set, by column.

        A suite made of the same data set must have none of them.
        """

    def prompts(self, seed: int) -> Iterator[tuple[Image.Image, str]]:
        """(picture in RGB, question) for calibration, in an order that the seed decides."""

    def answered(self, seed: int) -> Iterator[tuple[Image.Image, str, str]]:
        """(picture in RGB, question, answer) for scores that are measured on answers.

        None of them is among the samples of `prompts` with the same seed.
        """


class MiniImageText:
    """Endless pictures of the embedded world with questions."""

    identity = f"mini-{mini.VERSION}"
    columns: frozenset[str] = frozenset()
    ids: Mapping[str, set[str]] = {}

    def prompts(self, seed: int) -> Iterator[tuple[Image.Image, str]]:
        """See `ImageTextSource`."""
        return mini.picture_prompts(seed)

    def answered(self, seed: int) -> Iterator[tuple[Image.Image, str, str]]:
        """See `ImageTextSource`."""
        return mini.answered_prompts(seed)


class ImageTextRows:
    """The rows of a data set, which the seed shuffles and parts into calibration and held out.

    Args:
        name: As the user wrote it, for messages.
        rows: A `datasets.Dataset` with the columns image, question, and answer or answers.
        identity: Digest of the rows.

    Raises:
        ConfigError: A column is missing, or that of the pictures has something else.
    """

    def __init__(self, name: str, rows: Any, identity: str):
        self.columns = frozenset(rows.column_names)
        missing = {"image", "question"} - self.columns
        missing |= set() if {"answer", "answers"} & self.columns else {"answer"}
        if missing:
            raise ConfigError(
                f"calibration.image_text={name} has no column {', '.join(sorted(missing))}; it"
                f" needs {', '.join(COLUMNS)}"
            )
        self.name, self.rows, self.identity = name, _decoding(name, rows), identity
        self.ids = {
            column: set(map(str, rows[column])) for column in ID_COLUMNS if column in self.columns
        }

    def prompts(self, seed: int) -> Iterator[tuple[Image.Image, str]]:
        """See `ImageTextSource`."""
        for _, picture, question in self._readable(self._shuffled(seed)[0]):
            yield picture, question

    def answered(self, seed: int) -> Iterator[tuple[Image.Image, str, str]]:
        """See `ImageTextSource`."""
        for row, picture, question in self._readable(self._shuffled(seed)[1]):
            if answers := _answers(row):
                yield picture, question, max(answers, key=answers.count)

    def _readable(
        self, numbers: Sequence[int]
    ) -> Iterator[tuple[Mapping[str, Any], Image.Image, str]]:
        """(row, picture, question) of every row that has both; the others are counted and told."""
        looked_at, left_out = 0, []
        try:
            for number in numbers:
                looked_at += 1
                try:
                    row = self.rows[number]
                    if row["image"] is None:
                        raise ValueError("it has no image")
                    if not isinstance(row["question"], str) or not row["question"].strip():
                        raise ValueError(f"its question is {row['question']!r}")
                    picture = row["image"].convert("RGB")
                except PICTURE_ERRORS as error:
                    left_out.append(f"row {number}: {type(error).__name__}: {error}")
                    continue
                yield row, picture, row["question"]
        finally:  # also where no more are wanted
            if left_out:
                logger.warning(
                    f"calibration.image_text={self.name}: {len(left_out)} of {looked_at} rows are"
                    f" left out; {'; '.join(left_out[:TOLD])}"
                )

    def _shuffled(self, seed: int) -> tuple[list[int], list[int]]:
        """Numbers of the rows: (for calibration, held out)."""
        order = list(range(len(self.rows)))
        random.Random(f"image-text-folder-{seed}").shuffle(order)
        count = round(len(order) * (1 - HELD_OUT_SHARE))
        return order[:count], order[count:]


def _decoding(name: str, rows: Any) -> Any:
    """The rows with their pictures decoded.

    Raises:
        ConfigError: The column has something else than pictures or their bytes.
    """
    feature = rows.features["image"]
    if isinstance(feature, datasets.Image):
        return rows.cast_column("image", datasets.Image())
    is_bytes = isinstance(feature, datasets.Value) and "binary" in feature.dtype
    if is_bytes or (isinstance(feature, dict) and set(feature) == {"bytes", "path"}):
        return rows.cast_column("image", datasets.Image())
    raise ConfigError(
        f"calibration.image_text={name}: column image is {feature}; it needs one picture a row:"
        " convert it with cast_column('image', datasets.Image()) and save the data set again"
    )


def _answers(row: Mapping[str, Any]) -> list[str]:
    """The answer, or those of several annotators; none where there is none."""
    answers = [row["answer"]] if "answer" in row else list(row["answers"] or [])
    return [str(answer) for answer in answers if answer is not None]


def _saved_rows(folder: Path) -> ImageTextRows:
    """A saved data set; of one with splits the training split."""
    require_saved(folder, f"calibration.image_text={folder}")
    rows = datasets.load_from_disk(str(folder))
    if isinstance(rows, datasets.DatasetDict):
        if "train" not in rows:
            raise ConfigError(
                f"calibration.image_text={folder} has the splits {', '.join(rows)} and no `train`:"
                " calibration takes training data only"
            )
        rows = rows["train"]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    identity = {str(path.relative_to(folder)): digest.of_file(path) for path in files}
    return ImageTextRows(str(folder), rows, digest.of_value(identity))


@functools.cache
def _textvqa() -> ImageTextRows:
    """TextVQA's training split from the hub."""
    path, split = "lmms-lab-encoder/textvqa", "train"
    what = "calibration.image_text=textvqa"
    instead = "give a saved data set as calibration.image_text=FOLDER"
    rows = load_hub_dataset(path, None, split, what=what, instead=instead)
    return ImageTextRows(path, rows, digest.of_value([path, split, str(rows._fingerprint)]))


SOURCES: dict[str, Callable[[], ImageTextSource]] = {"mini": MiniImageText, "textvqa": _textvqa}


def image_text_source(name: str | None) -> ImageTextSource:
    """Open a source of pictures with questions.

    Args:
        name: A key of SOURCES or the folder of a saved data set.

    Raises:
        ConfigError: There is no such source, it cannot be had, or `name` is empty.
    """
    if not name:
        raise ConfigError(
            "image-text samples are needed, but there is no source: set calibration.image_text to"
            f" `mini` or the folder of a data set with the columns {', '.join(COLUMNS)}; or"
            " calibrate on text alone with calibration=text"
        )
    restrict_pictures()
    if name in SOURCES:
        return SOURCES[name]()
    if Path(name).is_dir():
        return _saved_rows(Path(name))
    names = ", ".join(f"`{source}`" for source in SOURCES)
    raise ConfigError(
        f"calibration.image_text={name}: neither {names} nor the folder of a saved data set"
    )
