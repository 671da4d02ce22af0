"""What lmms-eval does not ship for the real suites: sorted MMBench, GQA's pictures on demand, a
MathVista that rules can score.
"""

from __future__ import annotations

import ast
import functools
import re
from typing import Any

import datasets

from tasks.mini.utils import (
    mathvista_doc_to_visual,
    mmbench_circular_accuracy,
    mmbench_results,
    pope_mean_f1,
    pope_results,
)

__all__ = [
    "counted",
    "gqa_picture",
    "mathvista_doc_to_text",
    "mathvista_doc_to_visual",
    "mathvista_extract",
    "mathvista_results",
    "mmbench_by_question",
    "mmbench_circular_accuracy",
    "mmbench_results",
    "mme_by_pair",
    "pope_mean_f1",
    "pope_results",
]
ROTATION = 1_000_000  # MMBench numbers the n-th rotation of question i as i + n * ROTATION
GQA = ("lmms-lab-encoder/GQA", "testdev_balanced_images", "testdev")


def mmbench_by_question(rows: datasets.Dataset) -> datasets.Dataset:
    """The rotations of one question next to each other, so that a limit cuts none apart."""
    numbers = [int(number) for number in rows["index"]]
    return rows.select(sorted(range(len(rows)), key=lambda i: (numbers[i] % ROTATION, numbers[i])))


def mme_by_pair(rows: datasets.Dataset) -> datasets.Dataset:
    """Both questions about a picture next to each other, otherwise in the order of the data, so
    that a limit cuts no pair apart.
    """
    names = list(rows["question_id"])
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    return rows.select(sorted(range(len(names)), key=lambda i: (first[names[i]], i)))


@functools.cache
def _gqa_pictures() -> tuple[datasets.Dataset, dict[str, int]]:
    path, name, split = GQA
    rows = datasets.load_dataset(path, name, split=split)
    return rows, {identity: i for i, identity in enumerate(rows["id"])}


def gqa_picture(doc: dict[str, Any]) -> list[Any]:
    if doc.get("image") is not None:
        return [doc["image"].convert("RGB")]
    rows, places = _gqa_pictures()
    return [rows[places[doc["imageId"]]]["image"].convert("RGB")]


def counted(results: list[Any]) -> float:
    """lmms-eval wants a number of every metric; a submission has none but its length."""
    return float(len(results))


_HINTS = {
    ("integer", 0): "Answer the question using a single integer number.",
    (
        "float",
        1,
    ): "Answer the question using a single floating-point number with one decimal place.",
    (
        "float",
        2,
    ): "Answer the question using a single floating-point number with two decimal places.",
    ("list", 0): "Answer the question using a Python list.",
}


def mathvista_doc_to_text(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None
) -> str:
    """The question, its unit, its choices, and the form in which the answer is wanted, as
    lmms-eval's format prompt has them.
    """
    question = f"{doc['question']} (Unit: {doc['unit']})" if doc.get("unit") else doc["question"]
    choices = [f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(doc["choices"] or [])]
    return "\n".join([question, *choices, _hint(doc)]).strip()


def _hint(doc: dict[str, Any]) -> str:
    if doc["question_type"] == "multi_choice":
        return "Answer with the option's letter from the given choices directly."
    precision = int(doc["precision"] or 0) if doc["answer_type"] == "float" else 0
    return _HINTS.get((doc["answer_type"], precision), "")


def mathvista_extract(response: str, doc: dict[str, Any]) -> str | None:
    """The answer a response gives, in the form of the gold answers, by rules alone: the option of a
    letter or of equal text; the last integer, the last number rounded to the question's precision,
    or the last Python list. None where there is none: nothing is guessed.
    """
    text = response.strip()
    if doc["question_type"] == "multi_choice":
        return _choice(text, list(doc["choices"]))
    if doc["answer_type"] == "list":
        lists = re.findall(r"\[[^\[\]]*\]", text)
        try:
            return str(ast.literal_eval(lists[-1])) if lists else None
        except (ValueError, SyntaxError):
            return None
    numbers = re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
    if not numbers:
        return None
    if doc["answer_type"] == "integer":
        return str(int(float(numbers[-1])))
    return f"{float(numbers[-1]):.{int(doc['precision'] or 0)}f}"


def _choice(text: str, choices: list[str]) -> str | None:
    for choice in choices:
        if text.rstrip(".").lower() == str(choice).strip().lower():
            return str(choice)
    letter = re.match(r"\(?([A-Z])(?:\)|\.|:|\s|$)", text) or re.search(
        r"answer is:? \(?([A-Z])\b", text
    )
    place = ord(letter[1]) - ord("A") if letter else len(choices)
    return str(choices[place]) if place < len(choices) else None


def mathvista_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    found = mathvista_extract(results[0], doc)
    return {"accuracy_rule_based": float(found is not None and found == str(doc["answer"]))}
