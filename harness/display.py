"""What a user sees in the terminal: what runs now, what is left, and the leaderboard."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from reports.leaderboard import Leaderboard, Score, bytes_text


class Display(AbstractContextManager["Display"]):
    """Two bars, cells and questions, on a terminal; one line a finished cell elsewhere; nothing but errors when quiet."""

    def __init__(self, *, quiet: bool):
        self.console = Console()
        self.quiet = quiet
        self._progress: Progress | None = None
        self._cells: TaskID | None = None
        self._questions: TaskID | None = None
        self._jobs = 1
        if self.console.is_terminal and not quiet:
            self._progress = Progress(
                TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
                console=self.console, transient=True,
            )  # fmt: skip

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, text: str) -> None:
        """Name what runs now, where there is no count of it."""
        if self._progress is not None and self._questions is not None:
            self._progress.reset(self._questions, total=None, description=text)

    def start_job(self, number: int, jobs: int, cells: int) -> None:
        """Job `number` of `jobs` begins; each has `cells` cells."""
        if self._progress is None:
            return
        if self._cells is None:
            self._progress.start()
            self._cells = self._progress.add_task("all cells", total=jobs * cells)
            self._questions = self._progress.add_task("", total=None)
        self._progress.update(self._cells, total=jobs * cells, completed=number * cells)

    def start_cell(self, label: str, questions: int) -> None:
        if self._progress is not None and self._questions is not None:
            self._progress.reset(self._questions, total=questions, description=label)

    def answered(self, count: int) -> None:
        if self._progress is not None and self._questions is not None:
            self._progress.advance(self._questions, count)

    def finish_cell(self, label: str, outcome: str) -> None:
        if self._progress is not None and self._cells is not None:
            self._progress.advance(self._cells)
        else:
            self.say(f"{label}: {outcome}")

    def leaderboard(self, board: Leaderboard) -> None:
        """The table of scores; a wide one on any terminal, so that no column is cut."""
        if self.quiet:
            return
        table = Table(title="95 % intervals below each score; bits and bytes of the decoder's linear layers", title_justify="left")
        for name in ("variant", "paper\nbits", "stored\nbits", "stored\nbytes", "mean", *(c.title.replace(" ", "\n") for c in board.columns)):
            table.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)
        for line in board.lines:
            scores = [_cell(s) for s in line.row(board.columns)]
            table.add_row(line.label, f"{line.paper_bits:.2f}", f"{line.stored_bits:.3f}", bytes_text(line.stored_bytes), *scores)
        if board.lines:
            width = max(self.console.width, self.console.measure(table, options=self.console.options.update(width=400)).maximum)
            self.console.print(table, width=width, soft_wrap=True, crop=False)
        for failure in board.failures:
            self.say(f"FAILED {failure.model} {failure.method} k={failure.k} on {failure.suite}: {failure.error}")
        for problem in board.problems:
            self.say(f"UNREADABLE {problem.path}: {problem.reason}")


def _cell(score: Score | None) -> str:
    return f"{score.text}\n{score.interval}" if score else "—"
