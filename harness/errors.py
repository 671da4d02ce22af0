"""Errors that a user can act on, and the exit codes they end a command with.

Each message names what is wrong, where, and what to do next.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command ends with."""

    OK = 0
    FAILED = 1
    """A cell, an entry of the store or a backend failed; everything else is there."""
    BAD_CONFIG = 2
    """The request cannot be carried out as written."""
    UNDECIDED = 3
    """The gate has too little to decide on."""
    INTERRUPTED = 130
    """Ctrl-C; the same command resumes."""
    CLOSED = 141
    """Whoever read the output closed it (`| head`); the same command resumes."""


class ConfigError(ValueError):
    """The request cannot be carried out as written: exit code 2."""


class StoreError(RuntimeError):
    """The store cannot be read or written: nothing that was complete is lost."""


class CellError(RuntimeError):
    """One variant on one suite failed; the others go on: exit code 1."""


class RowError(CellError):
    """One row of a suite's data cannot be asked or scored: neither can its suite."""
