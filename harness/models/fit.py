"""A checkpoint fits its configuration exactly: nothing is made up, nothing is left out."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ConfigError

# How weights are read: no code, no pickle, and what does not fit is told instead of made up.
READING: Mapping[str, Any] = {
    "trust_remote_code": False,
    "use_safetensors": True,
    "ignore_mismatched_sizes": True,
    "output_loading_info": True,
}
_SHOWN = 3


def require_fit(model: str, info: Mapping[str, Any]) -> None:
    """Refuse weights that are missing, unexpected or of another shape.

    Args:
        model: Where its files are, for the message.
        info: As `from_pretrained` gives it with READING: `missing_keys`, `unexpected_keys` and
            `mismatched_keys` (name, shape in the file, shape in the model). What the class of the
            model ties or ignores is in none of them.

    Raises:
        ConfigError: Names the first of each and counts them all.
    """
    sizes = [
        f"{name} is {list(found)} and should be {list(wanted)}"
        for name, found, wanted in sorted(info.get("mismatched_keys", ()))
    ]
    told = [
        _told("missing", sorted(info.get("missing_keys", ()))),
        _told("unexpected", sorted(info.get("unexpected_keys", ()))),
        _told("of another shape", sizes),
    ]
    if any(told):
        raise ConfigError(
            f"the weights in {model} do not fit its configuration: {'; '.join(filter(None, told))}."
            " Give the configuration that belongs to these weights, or download both again"
        )


def unread_tensors(file: Path, blocks: int) -> set[str]:
    """Tensors of a GGUF file that transformers leaves out without a word: those behind the last
    decoder block.

    Args:
        file: Of a model with decoder blocks `blk.0`, `blk.1` and so on.
        blocks: How many its configuration has.
    """
    names = [
        str(tensor.name) for tensor in importlib.import_module("gguf").GGUFReader(file).tensors
    ]
    numbers = {name: name.split(".")[1] for name in names if name.startswith("blk.")}
    known = {str(number) for number in range(blocks)}
    return {name for name, number in numbers.items() if number not in known}


def _told(what: str, names: Collection[str]) -> str:
    if not names:
        return ""
    first = ", ".join(list(names)[:_SHOWN])
    return f"{len(names)} {what} ({first}{', ...' if len(names) > _SHOWN else ''})"
