"""Which option of a question an answer names, by rules that guess nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# A letter that is an option has a mark behind it, or nothing: bare, an A is an article, an I a
# pronoun, a small letter part of a formula. "A, B or C" names none.
_OPEN = r"[(\[\"'*$]*"
_MARK = r"(?:[)\].,;\"'*$]|\s*(?:\Z|\n))"
_NO_LIST = r"(?![)\]\"'*]*\s*(?:,|/|or\b|and\b)\s*\(?[A-Z]\b)"
_DECLARED = re.compile(  # the answer is B; Answer: (b); option C
    r"(?:(?i:\b(?:answer|option|choice|letter)(?:\s+(?:is|must be|would be))?)|答案[是为]?)"
    r"[:：]?\s*(?i:(?:option|choice|letter)\s+)?"
    rf"{_OPEN}(?:([A-Za-z])(?={_MARK})|([B-HJ-Z])\b){_NO_LIST}"
)
_LEADING = re.compile(  # in a line; "A:" begins any answer
    rf"^\s*{_OPEN}(?:([A-Za-z])(?={_MARK})|([B-HJ-Z]):){_NO_LIST}", re.MULTILINE
)
_BRACKETED = re.compile(r"(?<!\w)(?:\(([A-Z])\)|\*\*([A-Z])\*\*)")
_YES_OR_NO = re.compile(r"(?:^|\banswer(?: is)?:? *)(yes|no)\b")


def named_option(answer: str, options: Sequence[str]) -> int | None:
    """The place of the option that an answer names, None where it names none, or several.

    The first of these that names exactly one decides: the answer is the option's text; it declares
    a letter ("the answer is B", "option (b)"); a line begins with one that is marked ("b) 12") or
    alone; one is in brackets or bold; the answer begins with yes or no, or declares it; the text of
    one option occurs in it. Short options inside longer ones, numbers inside other numbers, and
    yes, no and single letters inside a sentence do not occur.

    Args:
        answer: What a model said.
        options: Their texts, in the order of their letters.
    """
    text, texts = _plain(answer), [_plain(option) for option in options]
    named = (
        [place for place, one in enumerate(texts) if one == text],
        _places(_DECLARED.finditer(answer), len(options)),
        _places(_LEADING.finditer(answer), len(options)),
        _places(_BRACKETED.finditer(answer), len(options)),
        [texts.index(said) for said in _YES_OR_NO.findall(text) if said in texts],
        _occurring(text, texts),
    )
    return next((places[0] for places in named if len(set(places)) == 1), None)


def _plain(text: str) -> str:
    """Without case, marks of formulas and fonts, and what surrounds it; 30 degrees are 30°."""
    text = re.sub(r"\s+", " ", re.sub(r"[{}$*]|</s>", "", text)).casefold()
    return re.sub(r" ?degrees?\b", "°", text).strip(" .")


def _places(letters: Iterable[re.Match[str]], count: int) -> list[int]:
    """Those of the letters that are options."""
    places = [ord(next(filter(None, letter.groups())).upper()) - ord("A") for letter in letters]
    return [place for place in places if place < count]


def _occurring(text: str, texts: Sequence[str]) -> list[int]:
    """The options whose texts occur in an answer, the longest first."""
    found = []
    for place in sorted(range(len(texts)), key=lambda place: -len(texts[place])):
        one = texts[place]
        if one in ("", "yes", "no") or re.fullmatch("[a-z]", one):
            continue
        text, count = re.subn(rf"(?<![\w.√\-−/]){re.escape(one)}(?![\w°√]|\.\d|/)", "\n", text)
        found += [place] * bool(count)
    return found
