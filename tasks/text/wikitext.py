"""WikiText-2 as one text, and what lm-eval aggregates of its likelihood."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def file_rows(text: str) -> list[str]:
    """The lines of a text as the hub's WikiText has them.

    Args:
        text: Of a file; what follows its last line break is left out.

    Returns:
        Each line with its line break; blank lines are empty.
    """
    return [f"{line}\n" if line.strip() else "" for line in text.split("\n")[:-1]]


def joined(rows: Iterable[str]) -> str:
    """One text, as GPTQ's code joins it.

    WikiText-2's test split then has 341,469 tokens under Llama's tokenizer, as in the literature.
    """
    return "\n\n".join(rows)


def text_results(doc: dict[str, Any], results: list[float]) -> dict[str, tuple[float, int]]:
    """Log-likelihood with the number of words and of bytes, for lm-eval to add up.

    Args:
        doc: Row with the text; words are what white space separates.
        results: Log-likelihood of the text, in nats.
    """
    (loglikelihood,) = results
    words, size = len(re.split(r"\s+", doc["text"])), len(doc["text"].encode())
    return {
        "word_perplexity": (loglikelihood, words),
        "byte_perplexity": (loglikelihood, size),
        "bits_per_byte": (loglikelihood, size),
    }
