"""What lmms-eval does not score for the real suites: MathVista by rules, and submissions.

The task files name these functions; `doc` is a row of the data set, `results` the answers to it.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from tasks.options import named_option


def count_answers(results: list[Any]) -> float:
    """Number of answers in a submission; it has no score, but lmms-eval wants one of a metric."""
    return float(len(results))


_FLOAT = "Answer the question using a single floating-point number with"
# by type of the answer and decimal places
_HINTS = {
    ("integer", 0): "Answer the question using a single integer number.",
    ("float", 1): f"{_FLOAT} one decimal place.",
    ("float", 2): f"{_FLOAT} two decimal places.",
    ("list", 0): "Answer the question using a Python list.",
}


def mathvista_doc_to_text(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None
) -> str:
    """lmms-eval's format prompt: the question, its unit, its options, the form of the answer."""
    question = f"{doc['question']} (Unit: {doc['unit']})" if doc.get("unit") else doc["question"]
    choices = [f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(doc["choices"] or [])]
    return "\n".join([question, *choices, _hint(doc)]).strip()


def _hint(doc: dict[str, Any]) -> str:
    if doc["question_type"] == "multi_choice":
        return "Answer with the option's letter from the given choices directly."
    precision = int(doc["precision"] or 0) if doc["answer_type"] == "float" else 0
    return _HINTS.get((doc["answer_type"], precision), "")


def mathvista_reading(response: str, doc: dict[str, Any]) -> str | None:
    """The answer that a response gives, in the form of the gold answers, by rules alone.

    Returns:
        With options, the text of the one that is named (`named_option`); else the last integer,
        the last number rounded to the question's precision, or the last Python list. None where
        there is none.
    """
    text = response.strip()
    if doc["question_type"] == "multi_choice":
        place = named_option(text, [str(choice) for choice in doc["choices"]])
        return None if place is None else str(doc["choices"][place])
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


def mathvista_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Whether the extracted answer is the right one, 0 or 1."""
    answer = mathvista_reading(results[0], doc)
    return {"accuracy_rule_based": float(answer is not None and answer == str(doc["answer"]))}
