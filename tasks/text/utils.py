"""Texts as language modelling data, and what lm-eval makes of their likelihood."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def file_rows(path: Path) -> list[str]:
    """The lines of a UTF-8 file as the hub's WikiText has them: with their line break, blank ones
    empty.
    """
    return [
        f"{line}\n" if line.strip() else ""
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]
    ]


def joined(rows: Iterable[str]) -> str:
    """One text, as GPTQ's code joins it: under Llama's tokenizer WikiText-2's test split then has
    the 341,469 tokens of the literature.
    """
    return "\n\n".join(rows)


def text_results(doc: dict[str, Any], results: list[float]) -> dict[str, tuple[float, int]]:
    """Log-likelihood over words (what white space separates) and over bytes, for lm-eval to add up."""
    (loglikelihood,) = results
    words, size = len(re.split(r"\s+", doc["text"])), len(doc["text"].encode())
    return {
        "word_perplexity": (loglikelihood, words),
        "byte_perplexity": (loglikelihood, size),
        "bits_per_byte": (loglikelihood, size),
    }
