"""Errors that a user can act on. Each message names what, where and what to do."""

from __future__ import annotations


class ConfigError(ValueError):
    """The request cannot be carried out as written: exit code 2."""


class StoreError(RuntimeError):
    """The store cannot be read or written: nothing that was complete is lost."""


class CellError(RuntimeError):
    """One variant on one suite failed; the others go on: exit code 1."""
