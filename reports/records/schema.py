"""The JSON files of a store as checked records: their version, reading one, writing one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from reports.records.sealed_json import sealed_text, strict_json

Version = Literal[1, 2]
SCHEMA_VERSION: Version = 2  # version 1 had no blocks, pictures, statistics or provenance
Record = TypeVar("Record", bound=BaseModel)


class Strict(BaseModel):
    """A record: immutable, without unknown fields, NaN or infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NewerSchema(ValueError):
    """A file that a newer harness wrote."""


def read_checked(path: Path, schema: type[Record], *, sealed: bool = False) -> Record:
    """Read one file of this schema.

    Args:
        path: The file.
        schema: What it holds.
        sealed: Whether a file without a seal is refused.

    Raises:
        OSError: there is no such file, or it cannot be read.
        NewerSchema: a newer harness wrote it.
        ValueError: its content has changed since it was written, or does not fit the schema.
    """
    try:
        text = sealed_text(path, required=sealed)
    except ValueError:
        refuse_newer(path.read_text(encoding="utf-8", errors="replace"))  # may seal otherwise
        raise
    refuse_newer(text)
    return schema.model_validate_json(text)


def refuse_newer(text: str) -> None:
    """Check the schema version of a JSON text and nothing else.

    Raises:
        NewerSchema: this version does not know the schema.
    """
    try:
        value = strict_json(text)
    except ValueError:
        return
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchema(
            f"written by a newer harness (schema {version}, this one reads up to {SCHEMA_VERSION});"
            " update luq-harness"
        )


def reason_of(error: Exception) -> str:
    """Say in one line why a file was refused; of several fields that do not fit, the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return (
        f"{error.error_count()} fields do not fit schema {SCHEMA_VERSION}, the first: {place}:"
        f" {first['msg']}"
    )


def to_json(record: BaseModel) -> str:
    """Write a record as readable JSON without NaN."""
    return json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False)
