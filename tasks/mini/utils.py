"""What lmms-eval does not ship for the mini suites:

POPE's mean over splits, MMBench without files, a rule-based MathVista.
"""

from __future__ import annotations

import re
from typing import Any

from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer
from lmms_eval.tasks.mmbench.en_utils import mmbench_evaluator, mmbench_process_results
from lmms_eval.tasks.pope.utils import pope_process_results


def pope_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """lmms-eval's judgement, and the same with the split, for the mean over splits that the
    literature reports.
    """
    scored = pope_process_results(doc, results)
    return {**scored, "pope_mean_f1": {**scored["pope_f1_score"], "split": doc["category"]}}


def pope_mean_f1(results: list[dict[str, Any]]) -> float:
    """Mean over the splits of 2 TP / (2 TP + FP + FN). lmms-eval's F1 leaves out positives that
    were answered neither "yes" nor "no"; here they are misses, so that a model that falls silent
    does not gain by it.
    """
    splits = sorted({r["split"] for r in results})
    return sum(_f1([r for r in results if r["split"] == split]) for split in splits) / len(splits)


def _f1(results: list[dict[str, Any]]) -> float:
    said = [r["prediction"] == "yes" for r in results]
    gold = [r["ground_truth"] == "yes" for r in results]
    hits = sum(s and g for s, g in zip(said, gold, strict=True))
    return 2 * hits / max(1, sum(said) + sum(gold))


def mmbench_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """lmms-eval's record of the answer, and whether its static parser finds the right letter in it."""
    record = mmbench_process_results(doc, results)["gpt_eval_score"]
    choices = mmbench_evaluator.build_choices(record)
    letter = mmbench_evaluator.can_infer(record["prediction"], choices) or extract_mcq_answer(
        record["prediction"], choices=sorted(choices)
    )
    return {"circular_accuracy": {**record, "correct": float(letter == doc["answer"])}}


def mmbench_circular_accuracy(results: list[dict[str, Any]]) -> float:
    """lmms-eval's static parser over circular groups, 0 to 1; its own aggregation writes a file
    beside it, this one does not.
    """
    overall, _, _ = mmbench_evaluator.eval_result(results, eval_method="static")
    return float(overall)


def mathvista_doc_to_text(
    doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None
) -> str:
    choices = "\n".join(f"{'ABCD'[i]}. {choice}" for i, choice in enumerate(doc["choices"] or []))
    return f"{doc['question']}\n{choices}".strip()


def mathvista_doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    return [doc["decoded_image"].convert("RGB")]


def mathvista_extract(response: str, doc: dict[str, Any]) -> str | None:
    """The answer a response gives, by rules alone: the option of a leading letter or equal text,
    else the last integer; None if neither.
    """
    response = response.strip()
    if doc["question_type"] == "multi_choice":
        letter = re.match(r"\(?([A-D])\b", response)
        if letter and "ABCD".index(letter[1]) < len(doc["choices"]):
            return str(doc["choices"]["ABCD".index(letter[1])])
        return next((choice for choice in doc["choices"] if choice == response), None)
    numbers = re.findall(r"-?\d+", response)
    return numbers[-1] if numbers else None


def mathvista_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    return {"accuracy_rule_based": float(mathvista_extract(results[0], doc) == doc["answer"])}
