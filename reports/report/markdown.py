"""The report as Markdown: the leaderboard, the studies' tables, the scorecard, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reports.report.claims import claims, findings
from reports.report.leaderboard import Leaderboard, Line, bytes_text
from reports.report.page import holes
from reports.report.scorecard import scorecard, tally
from reports.report.studies import Study


def markdown(board: Leaderboard, found: Sequence[Study] = ()) -> str:
    """Pipes and line breaks in names are escaped."""
    return (
        "\n".join([*_leaderboard(board), *_studies(found), *_scorecard(board), *_missing(board)])
        + "\n"
    )


def _leaderboard(board: Leaderboard) -> Iterator[str]:
    yield "# Leaderboard"
    yield ""
    head = [
        "variant",
        "paper bits",
        "stored bits",
        "stored bytes",
        "to full precision",
        *board.titles,
        "errors / empty / unparseable / unreadable pictures",
    ]
    yield from _table(head, [_row(line, board) for line in board.lines])
    if not board.lines:
        yield ""
        yield "The store holds no results yet. `python -m harness +sweep=first_look` makes some."
    yield ""
    yield (
        "Scores are per cent (MME: points; texts: perplexity a token, lower is better) with 95 %"
        " intervals over pictures or windows. Bits and bytes are those of the decoder's linear"
        " layers. Differences to full precision are paired question by question, ratios of"
        " perplexity window by window. ◆: nothing of the same model that stores no more is better."
    )


def _row(line: Line, board: Leaderboard) -> list[str]:
    counts = (
        f"{line.errors} / {line.empty} / {line.unparseable} / {line.data_errors} of"
        f" {line.questions}"
    )
    name = f"{'◆ ' if line.front else ''}{line.model} {line.label}"
    beside = str(line.full.mean or line.full.ratio or "—") if line.full else "—"
    scores = [f"{s.text} [{s.interval}]" if s else "—" for s in line.row(board)]
    return [
        name,
        f"{line.paper_bits:.2f}",
        f"{line.stored_bits:.3f}",
        bytes_text(line.stored_bytes),
        beside,
        *scores,
        counts,
    ]


def _studies(found: Sequence[Study]) -> Iterator[str]:
    for study in found:
        yield from ("", f"## {study.title}", "", study.text)
        if study.rows:
            yield ""
            yield from _table(study.head, study.rows)


def _scorecard(board: Leaderboard) -> Iterator[str]:
    card = scorecard(board.lines)
    yield from ("", "## Scorecard", "")
    yield (
        f"Of the paper's {len(card)} published scores: "
        + ", ".join(f"{count} {mark}" for mark, count in tally(card).items())
        + "."
    )
    run = [one for one in card if one.ours is not None]
    if run:
        yield ""
        rows = [
            (
                one.published.backbone,
                one.published.title,
                one.published.benchmark,
                f"{one.published.score:g}",
                f"{one.ours.text} [{one.ours.interval}]" if one.ours else "",
                one.mark,
            )
            for one in run
        ]
        yield from _table(("model", "variant", "suite", "paper", "ours", ""), rows)
    yield ""
    yield from _table(
        ("the paper's claim", "said", "by paper bits, or its tables", "by stored bytes", "verdict"),
        [(c.claim, c.paper_value, c.paper_bits, c.stored, c.verdict) for c in claims()],
    )
    asked = findings(board.lines)
    if asked:
        yield ""
        yield from _table(
            ("model", "claim", "found here", "verdict"),
            [(f.model, f.claim, f.ours, f.verdict) for f in asked],
        )


def _missing(board: Leaderboard) -> Iterator[str]:
    if board.failures:
        yield from ("", "## Failed cells", "")
        yield from (
            f"- {_cell(f.model)} {_cell(f.method)} k={f.k} on {_cell(f.suite)}: {_cell(f.error)}"
            for f in board.failures
        )
    if board.problems:
        yield from ("", "## Unreadable or doubtful entries", "")
        yield from (f"- `{_cell(p.path)}`: {_cell(p.reason)}" for p in board.problems)
    if missing := holes(board):
        yield from ("", "## Suites without a score", "")
        yield from (f"- {_cell(name)}: {_cell(', '.join(titles))}" for name, titles in missing)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, tuple("---" for _ in head), *rows):
        yield "| " + " | ".join(map(_cell, row)) + " |"


def _cell(text: str) -> str:
    escaped = (
        text.replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("`", "\\`")
    )
    return " ".join(escaped.split())
