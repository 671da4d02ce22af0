"""Questions to look at: picture, gold answer and what every variant said, those first on which
variants disagree.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.records.results import Answer, SuiteResult
from reports.records.sealed_json import sealed_text, strict_json
from reports.report.leaderboard import Line

PICTURES, INDEX = "pictures", "index.json"  # of a store's entries, see harness/pictures.py
SHOWN = 12  # of each suite


@dataclass(frozen=True)
class Said:
    """One answer and who gave it. score: 0 to 1, None where it got none."""

    response: str
    status: str
    score: float | None
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """disagreement: 0, where every variant scores alike, to 1, where half are right. pictures: as
    data URIs.
    """

    model: str
    suite: str
    suite_title: str
    question: str
    prompt: str
    target: str
    pictures: tuple[str, ...]
    said: tuple[Said, ...]
    disagreement: float


def samples(lines: Sequence[Line], root: Path, shown: int = SHOWN) -> list[Sample]:
    """Up to `shown` of every suite of every model, by falling disagreement; where all agree, its
    first questions.
    """
    by_suite: dict[tuple[str, str], list[tuple[str, SuiteResult]]] = {}
    for line in lines:
        for row in line.cells:
            if row.result.metrics and row.result.metrics[0].statistic != "perplexity":
                by_suite.setdefault((line.model, row.cell.suite), []).append(
                    (line.label, row.result)
                )
    return [
        sample
        for (model, _), results in by_suite.items()
        for sample in _of_suite(model, results, root, shown)
    ]


def _of_suite(
    model: str, results: Sequence[tuple[str, SuiteResult]], root: Path, shown: int
) -> list[Sample]:
    asked: dict[str, list[tuple[str, Answer, float | None]]] = {}
    for label, result in results:
        primary = [metric.metric for metric in result.metrics if metric.primary]
        for answer in result.answers:
            score = next((answer.scores[name] for name in primary if name in answer.scores), None)
            asked.setdefault(answer.question_id, []).append((label, answer, score))
    # Questions that few variants were asked cannot show much.
    ranked = sorted(
        asked.items(), key=lambda item: (-_disagreement(item[1]) * len(item[1]), _number(item[0]))
    )
    title = results[0][1].suite_title
    folders = sorted(
        {root / PICTURES / result.pictures for _, result in results if result.pictures}
    )
    found = []
    for question, answers in ranked[:shown]:
        first = answers[0][1]
        pictures, said = _pictures(folders, question), _grouped(answers)
        suite = results[0][1].suite
        found.append(
            Sample(
                model,
                suite,
                title,
                question,
                first.prompt,
                first.target,
                pictures,
                said,
                _disagreement(answers),
            )
        )
    return found


def _disagreement(answers: Sequence[tuple[str, Answer, float | None]]) -> float:
    scores = [score or 0.0 for _, _, score in answers]
    mean = sum(scores) / len(scores)
    return 4 * mean * (1 - mean) if len(set(scores)) > 1 else 0.0


def _number(question: str) -> tuple[int, str]:
    return (int(question), "") if question.isdecimal() else (0, question)


def _grouped(answers: Sequence[tuple[str, Answer, float | None]]) -> tuple[Said, ...]:
    """By what was said, the best first."""
    groups: dict[tuple[str, str, float | None], list[str]] = {}
    for label, answer, score in answers:
        groups.setdefault((answer.response, answer.status, score), []).append(label)
    said = [Said(*key, tuple(labels)) for key, labels in groups.items()]
    return tuple(sorted(said, key=lambda s: (-(s.score or 0.0), -len(s.variants), s.response)))


def _pictures(folders: Sequence[Path], question: str) -> tuple[str, ...]:
    """Of the first entry that has the question; names that are not of its own making are not
    followed.
    """
    for folder in folders:
        try:
            names = strict_json(sealed_text(folder / INDEX))[question]
            files = [folder / name for name in names if re.fullmatch(r"[0-9a-f]{32}\.webp", name)]
            return tuple(
                f"data:image/webp;base64,{base64.b64encode(file.read_bytes()).decode()}"
                for file in files
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ()
