"""What lmms-eval does not score for the mini suites.

POPE's mean over splits, MMBench without files, and MathVista by rules. The task files name these
functions; `doc` is a row of the data set, `results` the answers to it, or all its records. What a
score is made from is what a `..._reading` reads, and answers in which it reads nothing are counted
as unparseable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer
from lmms_eval.tasks.mmbench.en_utils import mmbench_evaluator, mmbench_process_results
from lmms_eval.tasks.mme.utils import parse_pred_ans
from lmms_eval.tasks.pope.utils import pope_process_results
from PIL import Image

from tasks.options import named_option

Doc = Mapping[str, Any]  # a row of the data set


def mme_reading(response: str, _doc: Doc) -> str | None:
    """What lmms-eval's scorer of MME reads in an answer: "yes", "no", or None for neither."""
    said = parse_pred_ans(response)
    return None if said == "other" else str(said)


def pope_reading(response: str, _doc: Doc) -> str | None:
    """What an answer says by the rules of POPE's own scorer: "yes", "no", or None for neither.

    Only its first sentence counts, and a "no" or "not" in it makes it a "no". Two things differ:
    case and marks next to a word do not matter ("No!"), and where POPE takes all else for a "yes",
    silence and babble included, here the word has to be there.

    Source: evaluate.py of https://github.com/AoiDragon/POPE
    """
    words = re.findall(r"\w+", re.split(r"[.\n]", response.strip().lower())[0])
    if "no" in words or "not" in words:
        return "no"
    return "yes" if "yes" in words else None


def pope_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """lmms-eval's judgement, and that of `pope_reading` with the split for `pope_mean_f1`.

    lmms-eval takes "yes" and "no" alone for answers, without as much as a full stop.
    """
    scored = pope_process_results(doc, results)
    said, gold = pope_reading(results[0], doc), scored["pope_f1_score"]["ground_truth"]
    record = {"prediction": said, "ground_truth": gold, "score": float(said == gold)}
    return {**scored, "pope_mean_f1": {**record, "split": doc["category"]}}


def pope_mean_f1(results: list[dict[str, Any]]) -> float:
    """Mean over the splits of 2 TP / (2 TP + FP + FN), as the literature reports POPE.

    lmms-eval's F1 leaves out positives that were answered neither "yes" nor "no"; here they are
    misses, so that a model that falls silent does not gain by it.
    """
    splits = sorted({r["split"] for r in results})
    return sum(_f1([r for r in results if r["split"] == split]) for split in splits) / len(splits)


def _f1(results: list[dict[str, Any]]) -> float:
    predicted = [bool(r["prediction"] == "yes") for r in results]
    gold = [bool(r["ground_truth"] == "yes") for r in results]
    hits = sum(p and g for p, g in zip(predicted, gold, strict=True))
    return 2 * hits / max(1, sum(predicted) + sum(gold))


def mmbench_reading(response: str, doc: Doc) -> str | None:
    """The letter that lmms-eval's static parser reads in an answer, None where it reads none."""
    text, choices = response.strip(), mmbench_evaluator.build_choices(doc)
    letter = mmbench_evaluator.can_infer(text, choices) or extract_mcq_answer(
        text, choices=sorted(choices)
    )
    return str(letter) if letter else None


def mmbench_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """lmms-eval's record of the answer, and whether its static parser reads the right letter."""
    record = mmbench_process_results(doc, results)["gpt_eval_score"]
    right = mmbench_reading(results[0], record) == doc["answer"]
    return {"circular_accuracy": {**record, "correct": float(right)}}


def mmbench_circular_accuracy(results: list[dict[str, Any]]) -> float:
    """Share of circular groups that are right every time, by lmms-eval's static parser, 0 to 1.

    lmms-eval's own aggregation also writes a file; this one does not.
    """
    overall, _, _ = mmbench_evaluator.eval_result(results, eval_method="static")
    return float(overall)


def mathvista_doc_to_text(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None
) -> str:
    """The question, and the options by letter."""
    choices = "\n".join(f"{'ABCD'[i]}. {choice}" for i, choice in enumerate(doc["choices"] or []))
    return f"{doc['question']}\n{choices}".strip()


def mathvista_doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    """The picture."""
    return [doc["decoded_image"].convert("RGB")]


def mathvista_reading(response: str, doc: Doc) -> str | None:
    """The answer that a response gives, by rules alone.

    Returns:
        With options, the text of the one that is named (`named_option`); else the last integer;
        None where there is none.
    """
    if doc["question_type"] == "multi_choice":
        place = named_option(response, doc["choices"])
        return None if place is None else str(doc["choices"][place])
    numbers = re.findall(r"-?\d+", response)
    return numbers[-1] if numbers else None


def mathvista_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Whether the extracted answer is the right one, 0 or 1."""
    return {"accuracy_rule_based": float(mathvista_reading(results[0], doc) == doc["answer"])}
