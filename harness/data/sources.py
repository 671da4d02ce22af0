"""Where calibration data comes from: a text source and an image-text source, each by a name or a
path in the configuration.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import datasets
import torch
from PIL import Image
from torch import Tensor

from harness.data.hub import hub_dataset
from harness.errors import ConfigError
from harness.store import digest
from tasks.mini import calibration as mini
from tasks.text.utils import joined

HELD_OUT_SHARE = (
    0.25  # of a folder's rows: kept from calibration, for scores that are measured on answers
)
COLUMNS = ("image", "question", "answer")
IDS = (
    "question_id",
    "image_id",
)  # columns that name rows and pictures across the splits of one data set


class TextSource(Protocol):
    """identity: digest or version of what the stream depends on. sequences: token ids (1, length),
    from the stream of this seed.
    """

    @property
    def identity(self) -> str: ...
    def sequences(self, tokenizer: Any, length: int, seed: int) -> Iterator[Tensor]: ...


class ImageTextSource(Protocol):
    """prompts: pictures with questions. answered: other pictures, with questions and their answers,
    for measured scores.
    """

    @property
    def identity(self) -> str: ...
    def prompts(self, seed: int) -> Iterator[tuple[Image.Image, str]]: ...
    def answered(self, seed: int) -> Iterator[tuple[Image.Image, str, str]]: ...


class MiniText:
    """Endless sentences in the words that the embedded model was trained on."""

    identity = f"mini-{mini.VERSION}"

    def sequences(self, tokenizer: Any, length: int, seed: int) -> Iterator[Tensor]:
        for text in mini.texts(
            seed, sentences=length // 4 + 1
        ):  # no sentence has fewer than four tokens
            yield tokenizer(
                f"{tokenizer.bos_token}{text}",
                return_tensors="pt",
                truncation=True,
                max_length=length,
            )["input_ids"]


class MiniImageText:
    """Endless pictures of the embedded world with questions."""

    identity = f"mini-{mini.VERSION}"

    def prompts(self, seed: int) -> Iterator[tuple[Image.Image, str]]:
        return mini.picture_prompts(seed)

    def answered(self, seed: int) -> Iterator[tuple[Image.Image, str, str]]:
        return mini.answered_prompts(seed)


class TextFile:
    """A UTF-8 file, tokenized as one stream and cut into sequences, which the seed shuffles."""

    def __init__(self, path: Path):
        self.path, self.identity = path, digest.of_file(path)

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def sequences(self, tokenizer: Any, length: int, seed: int) -> Iterator[Tensor]:
        return cut(tokenizer, self.text, length, seed)


class ImageTextRows:
    """Rows with the columns image, question, and answer or answers; the seed shuffles them. ids: by
    column, what may name them again.
    """

    def __init__(self, name: str, rows: Any, identity: str):
        missing = {"image", "question"} - set(rows.column_names)
        missing |= set() if {"answer", "answers"} & set(rows.column_names) else {"answer"}
        if missing:
            raise ConfigError(
                f"calibration.image_text={name} has no column {', '.join(sorted(missing))}; it"
                f" needs {', '.join(COLUMNS)}"
            )
        self.rows, self.identity = rows, identity
        self.ids = {
            column: set(map(str, rows[column])) for column in IDS if column in rows.column_names
        }

    def _shuffled(self, seed: int) -> tuple[list[int], list[int]]:
        """(rows for calibration, rows held out)."""
        order = list(range(len(self.rows)))
        random.Random(f"image-text-folder-{seed}").shuffle(order)
        cut = round(len(order) * (1 - HELD_OUT_SHARE))
        return order[:cut], order[cut:]

    def prompts(self, seed: int) -> Iterator[tuple[Image.Image, str]]:
        for row in self._shuffled(seed)[0]:
            yield self.rows[row]["image"].convert("RGB"), self.rows[row]["question"]

    def answered(self, seed: int) -> Iterator[tuple[Image.Image, str, str]]:
        for row in self._shuffled(seed)[1]:
            found = self.rows[row]
            yield found["image"].convert("RGB"), found["question"], _one_answer(found)


def _one_answer(row: Mapping[str, Any]) -> str:
    """The answer, or of several annotators' the most frequent, the first of equals."""
    answers = [row["answer"]] if "answer" in row else list(row["answers"])
    return str(max(answers, key=answers.count))


def _folder(path: Path) -> ImageTextRows:
    """A saved data set, of which only the training split is taken.

    Raises ConfigError for one that has splits but none for training.
    """
    rows = datasets.load_from_disk(str(path))
    if isinstance(rows, datasets.DatasetDict):
        if "train" not in rows:
            raise ConfigError(
                f"calibration.image_text={path} has the splits {', '.join(rows)} and no `train`:"
                " calibration takes training data only"
            )
        rows = rows["train"]
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return ImageTextRows(
        str(path),
        rows,
        digest.of_value({str(p.relative_to(path)): digest.of_file(p) for p in files}),
    )


@functools.cache
def _hub_textvqa() -> ImageTextRows:
    """TextVQA's training split."""
    path, split = "lmms-lab-encoder/textvqa", "train"
    what, instead = (
        "calibration.image_text=textvqa",
        "give a saved data set as calibration.image_text=FOLDER",
    )
    rows = hub_dataset(path, None, split, what=what, instead=instead)
    return ImageTextRows(path, rows, digest.of_value([path, split, str(rows._fingerprint)]))


class HubText:
    """`text`: the training split of WikiText-2 from the hub."""

    PATH, NAME, SPLIT = "Salesforce/wikitext", "wikitext-2-raw-v1", "train"

    def __init__(self) -> None:
        what, instead = "calibration.text=wikitext2", "give a text file as calibration.text=FILE"
        rows = hub_dataset(self.PATH, self.NAME, self.SPLIT, what=what, instead=instead)
        self.text = joined(rows["text"])
        self.identity = digest.of_value(
            [self.PATH, self.NAME, self.SPLIT, digest.of_value(self.text)]
        )

    def sequences(self, tokenizer: Any, length: int, seed: int) -> Iterator[Tensor]:
        return cut(tokenizer, self.text, length, seed)


@functools.cache
def _hub_text() -> HubText:
    return HubText()


def cut(tokenizer: Any, text: str, length: int, seed: int) -> Iterator[Tensor]:
    """The text as one stream of tokens, cut into sequences of `length`, which the seed shuffles.

    What the tokenizer puts in front of a text begins every sequence.
    """
    front = list(tokenizer("")["input_ids"])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    body = length - len(front)
    starts = list(range(0, len(ids) - body + 1, body))
    random.Random(f"text-file-{seed}").shuffle(starts)
    for start in starts:
        yield torch.tensor([[*front, *ids[start : start + body]]])


def text_source(name: str) -> TextSource:
    """`mini`, `wikitext2` (the training split, from the hub) or the path of a text file.

    Raises ConfigError.
    """
    if name == "mini":
        return MiniText()
    if name == "wikitext2":
        return _hub_text()
    if Path(name).is_file():
        return TextFile(Path(name))
    raise ConfigError(f"calibration.text={name}: neither `mini`, `wikitext2` nor a text file")


def image_text_source(name: str | None) -> ImageTextSource:
    """`mini`, `textvqa` (the training split, from the hub) or the folder of a saved data set.

    Raises ConfigError, also for none.
    """
    if not name:
        raise ConfigError(
            "image-text samples are needed, but there is no source: set calibration.image_text to"
            f" `mini` or the folder of a data set with the columns {', '.join(COLUMNS)}; or"
            " calibrate on text alone with calibration=text"
        )
    if name == "mini":
        return MiniImageText()
    if name == "textvqa":
        return _hub_textvqa()
    if Path(name).is_dir():
        return _folder(Path(name))
    raise ConfigError(
        f"calibration.image_text={name}: neither `mini`, `textvqa` nor the folder of a saved"
        " data set"
    )
