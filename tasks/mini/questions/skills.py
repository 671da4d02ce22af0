"""Every skill by name, with the kind of picture that it asks about."""

from __future__ import annotations

import random

from tasks.mini.questions import mathvista, reading, scenes, training
from tasks.mini.questions.mme import MME_SKILLS, PairSkill, mme_picture
from tasks.mini.questions.question import Question, Skill, as_choice
from tasks.mini.world.pictures import Picture

PICTURE_KINDS = ("scene", "sign", "form", "chart", "board")


def _one_of(pair: PairSkill) -> Skill:
    def ask(picture: Picture, rng: random.Random) -> Question | None:
        questions = pair(picture, rng)
        return None if questions is None else questions[rng.randrange(2)]

    return ask


def _as_mmbench(skill: Skill) -> Skill:
    def ask(picture: Picture, rng: random.Random) -> Question | None:
        question = skill(picture, rng)
        return (
            None
            if question is None
            else as_choice(
                question, picture, rng, suite="mmbench", count=rng.choice((2, 3, 4, 4, 4))
            )
        )

    return ask


# Calibration draws by position: a skill that is inserted changes the data of a seed, and so
# `calibration.VERSION`.
SKILLS: dict[str, tuple[str, Skill]] = {
    **{f"mme_{name}": (mme_picture(name), _one_of(pair)) for name, pair in MME_SKILLS.items()},
    "vqav2_color": ("scene", scenes.vqav2_color),
    "vqav2_count_kind": ("scene", scenes.vqav2_count_kind),
    "vqav2_count_color": ("scene", scenes.vqav2_count_color),
    "vqav2_yes_no": ("scene", scenes.vqav2_yes_no),
    "gqa_neighbour": ("scene", scenes.gqa_neighbour),
    "gqa_neighbour_color": ("scene", scenes.gqa_neighbour_color),
    "gqa_compare": ("scene", scenes.gqa_compare),
    "pope": ("scene", scenes.pope),
    "mmbench_scene": ("scene", _as_mmbench(scenes.vqav2_color)),
    "mmbench_count": ("scene", _as_mmbench(scenes.vqav2_count_kind)),
    "mmbench_neighbour": ("scene", _as_mmbench(scenes.gqa_neighbour)),
    "mmbench_chart": ("chart", _as_mmbench(reading.chartqa_value)),
    "mmbench_bar": ("chart", _as_mmbench(reading.chartqa_extreme)),
    "math_corners": ("scene", mathvista.math_corners),
    "textvqa": ("sign", reading.textvqa),
    "docvqa": ("form", reading.docvqa),
    "chartqa_value": ("chart", reading.chartqa_value),
    "chartqa_extreme": ("chart", reading.chartqa_extreme),
    "chartqa_extreme_value": ("chart", reading.chartqa_extreme_value),
    "chartqa_count": ("chart", reading.chartqa_count),
    "math_sum": ("board:sum", mathvista.math_sum),
    "math_sequence": ("board:sequence", mathvista.math_sequence),
    "math_extreme": ("board:numbers", mathvista.math_extreme),
    "math_choice": ("board", mathvista.mathvista_choice),
    "open_translation": ("board:word", training.open_translation),
    "open_output": ("board:program", training.open_output),
    **{f"caption_{kind}": (kind, training.caption) for kind in PICTURE_KINDS},
    **{f"symbols_{kind}": (kind, training.grid_symbols) for kind in PICTURE_KINDS},
    **{f"colors_{kind}": (kind, training.grid_colors) for kind in PICTURE_KINDS},
    "open_variable": ("board:program", training.open_variable),
    "open_printed": ("board:program", training.open_printed),
    "open_place": ("scene", training.open_place),
    "other_word": ("sign", training.other_word),
}
SKILL_NAMES = tuple(SKILLS)
