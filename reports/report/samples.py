"""Questions to look at: the picture, the right answer and every variant's answer, beginning with
those on which variants disagree; and how often the form of answers changed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.records.entries import PICTURES, PICTURES_FILE
from reports.records.forms import changed_share
from reports.records.results import Answer, SuiteResult
from reports.records.sealed_json import sealed_text, strict_json
from reports.report.lines import Line
from reports.statistics.perplexity import text_statistic

SHOWN = 12  # questions of each suite
_Scored = tuple[str, Answer, float | None]  # label of the variant, its answer, the answer's score


@dataclass(frozen=True)
class AnswerGroup:
    """One answer and the variants that gave it.

    Attributes:
        score: 0 to 1, None without a score.
        variants: their labels.
    """

    response: str
    status: str
    score: float | None
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One question with all its answers.

    Attributes:
        pictures: as data URIs.
        answers: the best first.
        disagreement: from 0, where every variant scores alike, to 1, where half are right.
    """

    model: str
    suite: str
    suite_title: str
    question: str
    prompt: str
    target: str
    pictures: tuple[str, ...]
    answers: tuple[AnswerGroup, ...]
    disagreement: float


def samples(lines: Sequence[Line], root: Path, shown: int = SHOWN) -> list[Sample]:
    """Choose up to `shown` questions of every suite of every model, by falling disagreement.

    Where all variants agree these are the suite's first questions. Texts have no questions.

    Args:
        lines: variants with their results.
        root: of the store, for the pictures.
        shown: questions of each suite.
    """
    suites: dict[tuple[str, str], list[tuple[str, SuiteResult]]] = {}
    for line in lines:
        for suite, result in line.by_suite.items():
            if result.metrics and text_statistic(result) is None:
                suites.setdefault((line.model, suite), []).append((line.label, result))
    return [
        sample
        for (model, _), results in suites.items()
        for sample in _of_suite(model, results, root, shown)
    ]


def form_table(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of the shares in per cent: variants compared with full precision, by suite.

    Texts have no answers. Without full precision there are no rows.
    """
    shares: dict[tuple[str, str], dict[str, str]] = {}
    titles: dict[str, None] = {}
    for line in lines:
        if line.vs_full is None:
            continue
        name = (line.model, line.vs_full.reference)
        reference = next(one for one in lines if (one.model, one.label) == name).by_suite
        for suite, result in line.by_suite.items():
            if suite not in reference or not any(one.response for one in result.answers):
                continue
            share = changed_share(result, reference[suite])
            if share is not None:
                titles.setdefault(result.suite_title)
                row = shares.setdefault((line.model, line.label), {})
                row[result.suite_title] = f"{100 * share:.1f}"
    rows = [
        [f"{model} {label}", *(row.get(title, "—") for title in titles)]
        for (model, label), row in shares.items()
    ]
    return ["variant", *titles], rows


def _of_suite(
    model: str, results: Sequence[tuple[str, SuiteResult]], root: Path, shown: int
) -> list[Sample]:
    questions: dict[str, list[_Scored]] = {}
    for label, result in results:
        primary = [metric.metric for metric in result.metrics if metric.primary]
        for answer in result.answers:
            score = next((answer.scores[name] for name in primary if name in answer.scores), None)
            questions.setdefault(answer.question_id, []).append((label, answer, score))
    # Questions that few variants answered cannot show much.
    ranked = sorted(
        questions.items(),
        key=lambda item: (-_disagreement(item[1]) * len(item[1]), _number(item[0])),
    )
    suite = results[0][1]
    folders = sorted(
        {root / PICTURES / result.pictures for _, result in results if result.pictures}
    )
    return [
        Sample(
            model=model,
            suite=suite.suite,
            suite_title=suite.suite_title,
            question=question,
            prompt=answers[0][1].prompt,
            target=answers[0][1].target,
            pictures=_pictures(folders, question),
            answers=_grouped(answers),
            disagreement=_disagreement(answers),
        )
        for question, answers in ranked[:shown]
    ]


def _disagreement(answers: Sequence[_Scored]) -> float:
    scores = [score or 0.0 for _, _, score in answers]
    mean = sum(scores) / len(scores)
    return 4 * mean * (1 - mean) if len(set(scores)) > 1 else 0.0


def _number(question: str) -> tuple[int, str]:
    return (int(question), "") if question.isdecimal() else (0, question)


def _grouped(answers: Sequence[_Scored]) -> tuple[AnswerGroup, ...]:
    """Equal answers together, the best first."""
    groups: dict[tuple[str, str, float | None], list[str]] = {}
    for label, answer, score in answers:
        groups.setdefault((answer.response, answer.status, score), []).append(label)
    merged = [AnswerGroup(*key, tuple(labels)) for key, labels in groups.items()]
    return tuple(sorted(merged, key=lambda a: (-(a.score or 0.0), -len(a.variants), a.response)))


def _pictures(folders: Sequence[Path], question: str) -> tuple[str, ...]:
    """Pictures from the first entry that has the question; an index can name no other files."""
    for folder in folders:
        try:
            names = strict_json(sealed_text(folder / PICTURES_FILE))[question]
            files = [folder / name for name in names if re.fullmatch(r"[0-9a-f]{32}\.webp", name)]
            return tuple(
                f"data:image/webp;base64,{base64.b64encode(file.read_bytes()).decode()}"
                for file in files
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ()
