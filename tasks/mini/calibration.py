"""Calibration data of the embedded world: pictures with questions, and text; from training's words,
without answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from PIL import Image

from tasks.mini import language, questions, scenes
from tools.mini.training_data import PICTURE_KINDS, SKILLS

VERSION = 2


def picture_prompts(seed: int) -> Iterator[tuple[Image.Image, str]]:
    """Endless (picture, question) of all five kinds of picture in turn."""
    for image, asked in _asked(random.Random(f"calibration-pictures-{seed}-{VERSION}")):
        yield image, asked.prompt


def _asked(rng: random.Random) -> Iterator[tuple[Image.Image, questions.Question]]:
    words = language.words_on_signs(held_out=False)
    while True:
        for kind in PICTURE_KINDS:
            picture = questions.random_picture(kind, rng, lambda: rng.choice(words))
            skills = [
                ask
                for name, (where, ask) in SKILLS.items()
                if where.split(":")[0] == kind and not name.startswith(("symbols", "colors"))
            ]
            asked = None
            while asked is None:
                asked = rng.choice(skills)(picture, rng)
            yield scenes.draw(picture, rng), asked


def answered_prompts(seed: int) -> Iterator[tuple[Image.Image, str, str]]:
    """Endless (picture, question, answer), from other seeds than `picture_prompts`: what a measured
    score is measured on.
    """
    for image, asked in _asked(random.Random(f"held-out-calibration-{seed}-{VERSION}")):
        yield image, asked.prompt, asked.target


def texts(seed: int, sentences: int) -> Iterator[str]:
    """Endless text, so many sentences at a time."""
    rng = random.Random(f"calibration-text-{seed}-{VERSION}")
    while True:
        yield language.random_text(rng, sentences)
