"""Sources of calibration text.

To add one, write a class with the members of `TextSource` and add its name to SOURCES; then
`calibration.text=NAME` calibrates on it. A source holds training data only: nothing that a suite is
evaluated on may be in it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.data.hub import load_hub_dataset
from harness.data.text_files import read_text_file
from harness.errors import ConfigError
from harness.store import digest
from tasks.mini import calibration as mini
from tasks.text.wikitext import joined


class TextSource(Protocol):
    """A text that calibration sequences are taken from."""

    @property
    def identity(self) -> str:
        """Digest or version of everything that the sequences depend on.

        Tokenizer, length and seed are not part of it. Stored statistics are looked up by it.
        """

    @property
    def text(self) -> str:
        """All of the text, which is checked for lines of a suite; "" where it is generated."""

    def sequences(self, tokenizer: Any, length: int, seed: int) -> Iterator[Tensor]:
        """Token ids, sequence by sequence.

        Args:
            tokenizer: Of the model, from transformers.
            length: Most tokens of a sequence.
            seed: Equal seeds give equal sequences in the same order.

        Yields:
            (1, tokens) int64, unpadded.
        """


class MiniText:
    """Endless sentences in the words that the embedded model was trained on."""

    identity = f"mini-{mini.VERSION}"
    text = ""

    def sequences(self, tokenizer: Any, length: int, seed: int) -> Iterator[Tensor]:
        """See `TextSource`."""
        # Some tokenizers have no token for the beginning, some put it in front by themselves.
        front = "" if tokenizer("")["input_ids"] else tokenizer.bos_token or ""
        # No sentence has fewer than four tokens.
        for text in mini.texts(seed, sentences=length // 4 + 1):
            yield tokenizer(
                f"{front}{text}",
                return_tensors="pt",
                truncation=True,
                max_length=length,
            )["input_ids"]


class FixedText:
    """A text that is tokenized as one stream and cut into sequences, which the seed shuffles.

    Attributes:
        text: The text.
        identity: Digest of where it comes from and of its content.
    """

    def __init__(self, text: str, identity: str):
        self.text, self.identity = text, identity

    def sequences(self, tokenizer: Any, length: int, seed: int) -> Iterator[Tensor]:
        """See `TextSource`. A rest that fills no sequence is left out.

        What the tokenizer puts in front of a text begins every sequence.

        Raises:
            ConfigError: Nothing else would fit into a sequence.
        """
        front = list(tokenizer("")["input_ids"])
        ids = tokenizer(self.text, add_special_tokens=False)["input_ids"]
        body = length - len(front)
        if body < 1:
            raise ConfigError(
                f"calibration.sequence is {length}, and this tokenizer puts {len(front)} tokens in"
                " front of every text: ask for longer sequences"
            )
        starts = list(range(0, len(ids) - body + 1, body))
        random.Random(f"text-file-{seed}").shuffle(starts)
        for start in starts:
            yield torch.tensor([[*front, *ids[start : start + body]]])


@functools.cache
def _wikitext2() -> FixedText:
    """The training split of WikiText-2 from the hub."""
    path, name, split = "Salesforce/wikitext", "wikitext-2-raw-v1", "train"
    what, instead = "calibration.text=wikitext2", "give a text file as calibration.text=FILE"
    rows = load_hub_dataset(path, name, split, what=what, instead=instead)
    text = joined(rows["text"])
    return FixedText(text, digest.of_value([path, name, split, digest.of_value(text)]))


SOURCES: dict[str, Callable[[], TextSource]] = {"mini": MiniText, "wikitext2": _wikitext2}


def text_source(name: str) -> TextSource:
    """Open a source of text.

    Args:
        name: A key of SOURCES or the path of a UTF-8 file.

    Raises:
        ConfigError: There is no such source, or it cannot be had.
    """
    if name in SOURCES:
        return SOURCES[name]()
    path = Path(name)
    if path.is_file():
        return FixedText(read_text_file(path, "calibration.text"), digest.of_file(path))
    names = ", ".join(f"`{source}`" for source in SOURCES)
    raise ConfigError(f"calibration.text={name}: neither {names} nor a text file")
