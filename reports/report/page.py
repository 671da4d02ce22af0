"""The report as one HTML page: nothing is loaded from elsewhere, everything shown is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import astuple
from importlib.resources import files
from pathlib import Path
from string import ascii_uppercase

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from reports.report.claims import claims, findings
from reports.report.leaderboard import PERTURBED, Leaderboard, bytes_text
from reports.report.noise import noise_floors
from reports.report.references import FULL, Against
from reports.report.samples import SHOWN, samples
from reports.report.scorecard import scorecard, tally
from reports.report.studies import Study
from reports.statistics.mean import SuiteDifference


def page(board: Leaderboard, found: Sequence[Study], root: Path) -> str:
    """root: of the store, for the pictures of the samples."""
    environment = Environment(
        loader=PackageLoader("reports.report"),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes_text": bytes_text,
        "svg": Markup,
        "points": _points,
    }  # figures are drawn here from escaped labels
    noise = next(
        (one.floor for one in noise_floors(board.lines) if one.label == PERTURBED and one.floor),
        None,
    )
    shown, missing = samples(board.lines, root), holes(board)
    card, made = scorecard(board.lines), [line.cells[0].cell.made_with for line in board.lines]
    environments = {
        _letter(number): each
        for number, each in enumerate({str(one): one for one in made}.values())
    }
    names = {str(each): name for name, each in environments.items()}
    script = _asset("report.js")
    return environment.get_template("report.html").render(
        board=board,
        studies=found,
        samples=shown,
        per_suite=SHOWN,
        holes=missing,
        card=card,
        tally=tally(card),
        claims=[(c.claim, c.paper_value, c.paper_bits, c.stored, c.verdict) for c in claims()],
        findings=[astuple(one) for one in findings(board.lines)],
        models=list(dict.fromkeys(line.model for line in board.lines)),
        alphas=sorted({f"{line.alpha:g}" for line in board.lines}, key=float),
        suites=list(
            dict.fromkeys(
                (row.cell.suite, row.result.suite_title)
                for line in board.lines
                for row in line.cells
            )
        ),
        cells=sum(len(line.cells) for line in board.lines),
        questions=f"{sum(line.questions for line in board.lines):,}",
        noise=noise,
        floor=lambda against: _within(against, noise),
        environments=environments,
        origins=[names[str(one)] for one in made],
        sections=_sections(board, found, bool(shown), bool(missing)),
        style=_asset("report.css"),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def holes(board: Leaderboard) -> list[tuple[str, list[str]]]:
    """Variants that lack a score of a suite which another variant of their model has, and the
    suites' headings.
    """
    found = []
    for line in board.lines:
        wanted = {
            column for other in board.lines if other.model == line.model for column in other.scores
        }
        missing = [
            column.title
            for column in board.columns
            if column in wanted and column not in line.scores
        ]
        if missing:
            found.append((f"{line.model} {line.label}", missing))
    return found


def _sections(
    board: Leaderboard, found: Sequence[Study], samples: bool, holes: bool
) -> list[tuple[str, str]]:
    there = {
        ("leaderboard", "Leaderboard"): bool(board.lines),
        ("studies", "What the sweeps show"): bool(found),
        ("blocks", "Blocks"): bool(board.lines),
        ("samples", "Samples"): samples,
        ("scorecard", "Scorecard"): True,
        ("failures", "Failures and holes"): bool(board.failures or board.problems or holes),
        ("reproduce", "How each row was made"): bool(board.lines),
    }
    return [section for section, shown in there.items() if shown]


def _points(one: SuiteDifference) -> str:
    """In per cent, or for MME in points."""
    scale, digits = (100, 1) if one.maximum == 1 else (1, 0)
    paired = one.paired
    return (
        f"{scale * paired.difference:+.{digits}f} [{scale * paired.low:+.{digits}f},"
        f" {scale * paired.high:+.{digits}f}]"
    )


def _within(against: Against, noise: float | None) -> bool:
    return (
        noise is not None
        and against.mean is not None
        and against.kind == FULL
        and abs(against.mean.points) <= noise
    )


def _letter(number: int) -> str:
    return ascii_uppercase[number] if number < len(ascii_uppercase) else f"Z{number}"


def _asset(name: str) -> Markup:
    return Markup((files("reports.report") / "templates" / name).read_text(encoding="utf-8"))
