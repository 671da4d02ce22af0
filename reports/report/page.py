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

from reports.paper.claims import claims
from reports.report.findings import findings
from reports.report.leaderboard import Leaderboard
from reports.report.lines import PERTURBED, Comparison, bytes_text
from reports.report.noise import noise_floors
from reports.report.samples import SHOWN, Sample, form_table, samples
from reports.report.scorecard import scorecard, tally
from reports.report.studies.study import Study
from reports.statistics.mean import SuiteDifference


def page(board: Leaderboard, studies: Sequence[Study], root: Path) -> str:
    """Write the page.

    Args:
        board: variants that were compared with their references.
        studies: with figures and tables.
        root: of the store, for the pictures of the samples.
    """
    environment = Environment(
        loader=PackageLoader("reports.report"),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes_text": bytes_text,
        "svg": Markup,  # figures are drawn here, from escaped labels
        "difference": _difference,
    }
    return environment.get_template("report.html").render(_context(board, studies, root))


def _context(board: Leaderboard, studies: Sequence[Study], root: Path) -> dict[str, object]:
    """What the template shows."""
    card, script = scorecard(board.lines), _asset("report.js")
    noise, questions = _noise_floor(board), samples(board.lines, root)
    environments, letters = _environments(board)
    return {
        "board": board,
        "studies": studies,
        "samples": questions,
        "forms": form_table(board.lines),
        "per_suite": SHOWN,
        "missing": board.missing_scores(),
        "card": card,
        "tally": tally(card),
        "claims": [(c.claim, c.paper_value, c.paper_bits, c.stored, c.verdict) for c in claims()],
        "findings": [astuple(one) for one in findings(board.lines)],
        "models": list(dict.fromkeys(line.model for line in board.lines)),
        "alphas": sorted({f"{line.alpha:g}" for line in board.lines}, key=float),
        "suites": _suites(board),
        "cells": sum(len(line.results) for line in board.lines),
        "questions": f"{sum(line.questions for line in board.lines):,}",
        "noise": noise,
        "within_noise": lambda comparison: _within_noise(comparison, noise),
        "environments": environments,
        "letters": letters,
        "sections": _sections(board, studies, questions),
        "style": _asset("report.css"),
        "script": script,
        "script_hash": _hash(script),
    }


def _noise_floor(board: Leaderboard) -> float | None:
    """Points between perturbed copies of full precision; None where they were not run."""
    floors = noise_floors(board.lines)
    return next((one.floor for one in floors if one.label == PERTURBED and one.floor), None)


def _within_noise(comparison: Comparison, noise: float | None) -> bool:
    if noise is None or comparison.mean is None:
        return False
    return abs(comparison.mean.points) <= noise


def _suites(board: Leaderboard) -> list[tuple[str, str]]:
    """Names and titles of all suites."""
    results = (one for line in board.lines for one in line.results)
    return list(dict.fromkeys((one.cell.suite, one.result.suite_title) for one in results))


def _environments(board: Leaderboard) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Versions and machines that made the cells, by letter; and the letter of each line."""
    made_with = [line.cell.made_with for line in board.lines]
    different = list({str(one): one for one in made_with}.values())
    by_letter = {_letter(number): one for number, one in enumerate(different)}
    letters = {str(one): letter for letter, one in by_letter.items()}
    return by_letter, [letters[str(one)] for one in made_with]


def _letter(number: int) -> str:
    return ascii_uppercase[number] if number < len(ascii_uppercase) else f"Z{number}"


def _sections(
    board: Leaderboard, studies: Sequence[Study], questions: Sequence[Sample]
) -> list[tuple[str, str]]:
    """(anchor, title) of those that have something to show."""
    shown = {
        ("leaderboard", "Leaderboard"): bool(board.lines),
        ("studies", "What the sweeps show"): bool(studies),
        ("blocks", "Blocks"): bool(board.lines),
        ("samples", "Samples"): bool(questions),
        ("scorecard", "Scorecard"): True,
        ("failures", "Failures and missing scores"): bool(
            board.failures or board.problems or board.missing_scores()
        ),
        ("reproduce", "How each row was made"): bool(board.lines),
    }
    return [section for section, shows in shown.items() if shows]


def _difference(one: SuiteDifference) -> str:
    """In the unit of the metric's score."""
    unit, paired = one.statistic.unit, one.paired
    points, low, high = (
        unit.signed(unit.scale * value) for value in (paired.difference, paired.low, paired.high)
    )
    return f"{points} [{low}, {high}]"


def _hash(script: str) -> str:
    """As a content security policy names the only script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _asset(name: str) -> Markup:
    return Markup((files("reports.report") / "templates" / name).read_text(encoding="utf-8"))
