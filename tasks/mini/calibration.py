"""Calibration data of the embedded world: pictures with questions, and text.

Both use training's words, and no answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from PIL import Image

from tasks.mini.questions.question import Question
from tasks.mini.questions.skills import PICTURE_KINDS, SKILLS
from tasks.mini.world import language
from tasks.mini.world.drawing import draw
from tasks.mini.world.sampling import random_picture

VERSION = 2  # raise it whenever the same seed would draw other data


def picture_prompts(seed: int) -> Iterator[tuple[Image.Image, str]]:
    """Endless pictures of all five kinds in turn, each with a question."""
    rng = random.Random(f"calibration-pictures-{seed}-{VERSION}")
    for image, question in _pictures_with_questions(rng):
        yield image, question.prompt


def answered_prompts(seed: int) -> Iterator[tuple[Image.Image, str, str]]:
    """Endless pictures with a question and its answer, other ones than `picture_prompts` gives.

    Scores that are measured on answers are measured on these.
    """
    rng = random.Random(f"held-out-calibration-{seed}-{VERSION}")
    for image, question in _pictures_with_questions(rng):
        yield image, question.prompt, question.target


def _pictures_with_questions(rng: random.Random) -> Iterator[tuple[Image.Image, Question]]:
    words = language.words_on_signs(held_out=False)
    while True:
        for kind in PICTURE_KINDS:
            picture = random_picture(kind, rng, lambda: rng.choice(words))
            skills = [
                skill
                for name, (asked_about, skill) in SKILLS.items()
                if asked_about.split(":")[0] == kind and not name.startswith(("symbols", "colors"))
            ]
            question = None
            while question is None:
                question = rng.choice(skills)(picture, rng)
            yield draw(picture, rng), question


def texts(seed: int, sentences: int) -> Iterator[str]:
    """Endless texts of so many sentences each."""
    rng = random.Random(f"calibration-text-{seed}-{VERSION}")
    while True:
        yield language.random_text(rng, sentences)
