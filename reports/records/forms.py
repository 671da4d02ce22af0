"""How often the form of answers changed: scorers that compare texts punish it like a wrong answer.

ChartQA takes "14" and refuses "14." and "It is 14": a score may fall although nothing was unlearnt.
"""

from __future__ import annotations

import re

from reports.records.results import SuiteResult

SENTENCE = 4  # words of the shortest answer that is taken for a sentence


def form_changed(before: str, after: str) -> bool:
    """Whether two answers to one question differ in form, whatever they say.

    They do where only case, spaces or marks differ, where one is the other with words around it,
    and where one alone ends with a mark, is a sentence, or begins with a capital. Silence is no
    form; it is counted as an empty answer.
    """
    if before == after:
        return False
    words = [re.findall(r"\w+", text.casefold()) for text in (before, after)]
    if not all(words):
        return False
    short, long = sorted(words, key=len)
    if any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1)):
        return True
    if (len(short) < SENTENCE) != (len(long) < SENTENCE) or _mark(before) != _mark(after):
        return True
    first = [re.sub(r"^\W+", "", text)[0] for text in (before, after)]
    return all(map(str.isalpha, first)) and first[0].isupper() != first[1].isupper()


def _mark(text: str) -> str:
    return text.strip()[-1] if text.strip()[-1] in ".!?" else ""


def changed_share(result: SuiteResult, reference: SuiteResult) -> float | None:
    """The share of common questions on which the form changed, 0 to 1; None without any."""
    before = {one.question_id: one.response for one in reference.answers}
    pairs = [
        (before[one.question_id], one.response)
        for one in result.answers
        if one.question_id in before
    ]
    return sum(form_changed(*pair) for pair in pairs) / len(pairs) if pairs else None
