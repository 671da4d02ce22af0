"""What a user sees in the terminal: what runs now, what is left, and the leaderboard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from harness.progress import ALREADY, Eta, duration
from reports.report.leaderboard import Leaderboard
from reports.report.lines import Line, Score, bytes_text

EVERY = 30.0  # seconds between two lines about the same work, where there is no terminal


class Display(AbstractContextManager["Display"]):
    """Two bars on a terminal, one for all cells and one for what runs now: blocks or questions.

    Elsewhere a line for each finished cell with the time that is left, and one now and then about
    work that takes long. Nothing but errors when quiet.
    """

    def __init__(self, *, quiet: bool):
        # Bound now: lmms-eval's own printing is kept off the screen by replacing sys.stdout while
        # it runs.
        self.console = Console(file=sys.stdout)
        self.quiet = quiet
        self._progress: Progress | None = None
        self._cells: TaskID | None = None
        self._now: TaskID | None = None
        self._eta = Eta(0)
        self._work, self._doing = Eta(0), ""
        if self.console.is_terminal and not quiet:
            self._progress = Progress(
                TextColumn("{task.description:<34}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def message(self, text: str) -> None:
        """Print a line of text."""
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def announce(self, cells: int, done: int, text: str) -> None:
        """Say what is about to be done, and begin to count it."""
        self.message(text)
        self._eta = Eta(cells)
        if self._progress is not None and cells:
            self._progress.start()
            self._cells = self._progress.add_task("all cells", total=cells)
            self._now = self._progress.add_task("", total=None)

    def step(self, text: str) -> None:
        """Name what runs now, where there is no count of it."""
        self._begin(text, None)

    def start_cell(self, label: str, questions: int) -> None:
        """Begin a cell of so many questions."""
        self._begin(label, questions)

    def blocks(self, what: str, done: int, total: int) -> None:
        """Blocks of a model, as calibration and quantization come to them."""
        if what != self._doing or total != self._work.total:
            began = (
                None if self._work.total else self._work.began
            )  # its first block began with the step before it
            self._begin(what, total)
            self._work.began = self._work.began if began is None else began
        self.advance(done - self._work.done)

    def advance(self, count: int) -> None:
        """So many more questions or blocks."""
        self._work.done += count
        if self._progress is not None and self._now is not None:
            self._progress.advance(self._now, count)
        elif self._work.total and self._work.done < self._work.total and self._work.due(EVERY):
            self.message(
                f"  {self._doing}: {self._work.done:,} of {self._work.total:,}{_left(self._work)}"
            )

    def finish_cell(self, label: str, outcome: str) -> None:
        """End a cell and say how long the others should take."""
        self._eta.done += 1
        if self._progress is not None and self._cells is not None:
            self._progress.advance(self._cells)
            return
        if outcome == ALREADY:  # took no time, and says nothing of how long the others take
            self._eta.done, self._eta.total = self._eta.done - 1, max(0, self._eta.total - 1)
            self.message(f"{label}: {outcome}")
            return
        count = f"[{self._eta.done}/{self._eta.total}] " if self._eta.total else ""
        self.message(f"{count}{label}: {outcome}{_left(self._eta)}")

    def _begin(self, what: str, total: int | None) -> None:
        self._work, self._doing = Eta(total or 0), what
        if self._progress is not None and self._now is not None:
            self._progress.reset(self._now, total=total, description=what)

    def table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], *, wrap: bool = False
    ) -> None:
        """Plain text in columns, numbers behind the first; with `wrap`, sentences instead."""
        if self.quiet:
            return
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for number, heading in enumerate(head):
            if wrap:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(
                    heading.replace(" ", "\n"), justify="right" if number else "left", no_wrap=True
                )
        for row in rows:
            table.add_row(*map(escape, row))
        self.console.print(table)

    def leaderboard(self, board: Leaderboard) -> None:
        """The table of scores, in as many parts as the terminal's width asks for, so that no column
        is cut.
        """
        if self.quiet:
            return
        titles = board.titles
        several = len({line.model for line in board.lines}) > 1
        names = [f"{line.model} {line.label}" if several else line.label for line in board.lines]
        width = max(map(len, names), default=0) + 2
        for number, part in (
            enumerate(_parts(len(titles), self.console.width - width)) if board.lines else ()
        ):
            table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
            table.add_column("variant", no_wrap=True)
            for heading in (
                *(_COSTS if number == 0 else ()),
                *(titles[i].replace(" ", "\n") for i in part),
            ):
                table.add_column(heading, justify="right", no_wrap=True)
            for name, line in zip(names, board.lines, strict=True):
                row = board.scores(line)
                costs = _costs(line) if number == 0 else ()
                table.add_row(name, *costs, *(_cell(row[i]) for i in part))
            self.console.print(table)
        if board.lines:
            self.message(
                "Per cent (MME: points; texts: perplexity, lower is better), 95 % intervals over"
                " pictures or windows below each score; bits and bytes of the decoder's linear"
                " layers; differences to full precision on the same questions."
            )
        for failure in board.failures:
            self.message(
                f"FAILED {failure.model} {failure.method} k={failure.k} on {failure.suite}:"
                f" {failure.error}"
            )
        for problem in board.problems:
            self.message(f"UNREADABLE {problem.path}: {problem.reason}")


def _left(eta: Eta) -> str:
    remaining = eta.remaining()
    return (
        f"; about {duration(remaining)} left"
        if remaining is not None and eta.done < eta.total
        else ""
    )


def _costs(line: Line) -> tuple[str, ...]:
    beside = line.vs_full.text if line.vs_full else "—"
    return (
        f"{line.paper_bits:.2f}",
        f"{line.stored_bits:.3f}",
        bytes_text(line.stored_bytes),
        beside.replace(" [", "\n["),
    )


_COSTS = ("paper\nbits", "stored\nbits", "stored\nbytes", "to full\nprecision")
_COST_WIDTH, _SCORE_WIDTH = 45, 12


def _parts(columns: int, width: int) -> list[range]:
    """Indices of the score columns that fit side by side beside the names; the first part also
    holds the costs.
    """
    first = max(1, (width - _COST_WIDTH) // _SCORE_WIDTH)
    size = max(1, width // _SCORE_WIDTH)
    starts = [0, *range(first, columns, size)]
    return [
        range(start, min(end, columns))
        for start, end in zip(starts, [*starts[1:], columns], strict=True)
    ]


def _cell(score: Score | None) -> str:
    return f"{score.text}\n{score.interval}" if score else "—"
