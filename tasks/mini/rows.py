"""The rows of each mini suite, in the columns of the real data sets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from PIL import Image

from tasks.mini.questions import mathvista, reading, scenes
from tasks.mini.questions.mme import MME_SKILLS, mme_picture
from tasks.mini.questions.question import OPTION_LETTERS, Question, Skill, as_choice
from tasks.mini.world.drawing import draw
from tasks.mini.world.language import words_on_signs
from tasks.mini.world.pictures import COLORS, KINDS, Picture, Scene, Sign
from tasks.mini.world.sampling import random_picture

Row = dict[str, Any]
Asked = TypeVar("Asked")

# category: (its group in MMBench, kind of picture, skill)
_MMBENCH: dict[str, tuple[str, str, Skill]] = {
    "attribute_recognition": (
        "finegrained_perception (instance-level)",
        "scene",
        scenes.vqav2_color,
    ),
    "object_localization": (
        "finegrained_perception (instance-level)",
        "scene",
        scenes.vqav2_count_kind,
    ),
    "spatial_relationship": (
        "finegrained_perception (cross-instance)",
        "scene",
        scenes.gqa_neighbour,
    ),
    "attribute_comparison": (
        "finegrained_perception (cross-instance)",
        "chart",
        reading.chartqa_extreme,
    ),
    "structuralized_imagetext_understanding": (
        "logic_reasoning",
        "chart",
        reading.chartqa_value,
    ),
}
_MATH: tuple[tuple[str, Skill], ...] = (
    ("board:sum", mathvista.math_sum),
    ("board:sequence", mathvista.math_sequence),
    ("scene", mathvista.math_corners),
    ("board:numbers", mathvista.math_extreme),
    ("board", mathvista.mathvista_choice),
)


class Drawer:
    """Pictures and questions from one seed.

    Attributes:
        rng: Source of all randomness.
        words: That signs may show.
    """

    def __init__(self, seed: str):
        self.rng = random.Random(seed)
        self.words = words_on_signs(held_out=True)

    def picture(self, kind: str) -> Picture:
        """A random picture; kind as in `random_picture`."""
        return random_picture(kind, self.rng, lambda: self.rng.choice(self.words))

    def draw(self, picture: Picture) -> Image.Image:
        """Its pixels."""
        return draw(picture, self.rng)

    def ask(
        self, kind: str, skill: Callable[[Picture, random.Random], Asked | None]
    ) -> tuple[Picture, Asked]:
        """A picture of this kind about which the skill asks something, and what it asks."""
        while True:
            picture = self.picture(kind)
            question = skill(picture, self.rng)
            if question is not None:
                return picture, question


def mme_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Pairs about one picture each, category by category."""
    names = list(MME_SKILLS)
    for number in range(-(-count // 2)):
        category = names[number % len(names)]
        picture, pair = d.ask(mme_picture(category), MME_SKILLS[category])
        image = d.draw(picture)
        for question in pair:
            yield {
                "question_id": f"{category}/{number:05d}.png",
                "image": image,
                "question": question.text,
                "answer": question.answer,
                "category": category,
            }


def mmbench_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Each question four times with its options rotated: right only if right every time."""
    names = list(_MMBENCH)
    for number in range(-(-count // 4)):
        category = names[number % len(names)]
        group, kind, skill = _MMBENCH[category]
        picture, plain = d.ask(kind, skill)
        question = as_choice(plain, picture, d.rng, suite="mmbench")
        image = d.draw(picture)
        for turn in range(4):
            options = question.options[turn:] + question.options[:turn]
            yield {
                "index": number + turn * 1_000_000,
                "question": question.text,
                "hint": "nan",
                "answer": OPTION_LETTERS[options.index(question.answer)],
                **dict(zip(OPTION_LETTERS, options, strict=True)),
                "category": category,
                "image": image,
                "source": "mini",
                "L2-category": group,
                "comment": "nan",
                "split": "dev",
            }


def textvqa_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Words on signs, with the answers of ten annotators."""
    for number in range(count):
        picture, question = d.ask("sign", reading.textvqa)
        assert isinstance(picture, Sign)
        image = d.draw(picture)
        yield {
            "image_id": f"mini{number:06d}",
            "question_id": number,
            "question": question.text,
            "question_tokens": question.text.lower().rstrip("?").split(),
            "image": image,
            "image_width": image.width,
            "image_height": image.height,
            "answers": _ten_answers(d.rng, question),
            "image_classes": ["Sign"],
            "set_name": "val",
            "ocr_tokens": [w.text for w in picture.words],
        }


def _ten_answers(rng: random.Random, question: Question) -> list[str]:
    """Ten annotators: seven to ten agree, the others see something near."""
    disagree = rng.choice((0, 0, 0, 1, 2, 3))
    if question.answer in COLORS:
        near = [c for c in COLORS if c != question.answer]
    elif question.answer.isdigit():
        near = [str(int(question.answer) + 1)]
    elif question.answer in ("yes", "no"):
        near = ["no" if question.answer == "yes" else "yes"]
    elif question.answer in KINDS:
        near = [k for k in KINDS if k != question.answer]
    else:
        near = ["unanswerable"]
    answers = [question.answer] * (10 - disagree) + [rng.choice(near) for _ in range(disagree)]
    rng.shuffle(answers)
    return answers


def vqav2_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Colours, numbers and yes or no about scenes, with the answers of ten annotators."""
    skills = (
        scenes.vqav2_color,
        scenes.vqav2_count_kind,
        scenes.vqav2_count_color,
        scenes.vqav2_yes_no,
    )
    for number in range(count):
        picture, question = d.ask("scene", skills[number % len(skills)])
        answers = [
            {"answer": a, "answer_confidence": "yes", "answer_id": i}
            for i, a in enumerate(_ten_answers(d.rng, question), start=1)
        ]
        yield {
            "question_type": " ".join(question.text.lower().split()[:2]),
            "multiple_choice_answer": question.answer,
            "answers": answers,
            "image_id": number,
            "answer_type": question.category,
            "question_id": number * 1000,
            "question": question.text,
            "image": d.draw(picture),
        }


def gqa_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Relations of objects in scenes."""
    skills = (scenes.gqa_neighbour, scenes.gqa_neighbour_color, scenes.gqa_compare)
    for number in range(count):
        picture, question = d.ask("scene", skills[number % len(skills)])
        yield {
            "id": f"{number:08d}",
            "imageId": f"n{number:06d}",
            "question": question.text,
            "answer": question.answer,
            "fullAnswer": question.answer,
            "isBalanced": True,
            "types": {"structural": question.category},
            "image": d.draw(picture),
        }


def pope_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Six questions a scene, its three splits in turn."""
    splits = ("random", "popular", "adversarial")
    written = 0
    while written < count:
        picture = d.picture("scene")
        assert isinstance(picture, Scene)
        batch = scenes.pope_questions(picture, splits[(written // 6) % 3], d.rng)
        if len(batch) < 6:
            continue
        image = d.draw(picture)
        for question in batch:
            yield {
                "id": str(written),
                "question_id": str(written),
                "question": question.text,
                "answer": question.answer,
                "image_source": f"mini_{written // 6:06d}",
                "image": image,
                "category": question.category,
            }
            written += 1


def chartqa_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Bars of charts; every fourth question is of the augmented split."""
    human = (reading.chartqa_extreme, reading.chartqa_extreme_value, reading.chartqa_count)
    for number in range(count):
        picture, question = d.ask(
            "chart", reading.chartqa_value if number % 4 == 3 else human[number % 4]
        )
        yield {
            "type": question.category,
            "question": question.text,
            "answer": question.answer,
            "image": d.draw(picture),
            "image_id": number,
        }


def docvqa_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Codes of forms."""
    for number in range(count):
        picture, question = d.ask("form", reading.docvqa)
        yield {
            "questionId": str(number),
            "question": question.text,
            "question_types": ["form"],
            "image": d.draw(picture),
            "docId": number,
            "ucsf_document_id": f"mini{number:06d}",
            "ucsf_document_page_no": "1",
            "answers": [question.answer],
            "data_split": "val",
        }


def mathvista_rows(d: Drawer, count: int) -> Iterator[Row]:
    """Sums, sequences, corners and comparisons; every fifth question has options."""
    for number in range(count):
        picture, question = d.ask(*_MATH[number % len(_MATH)])
        choice = bool(question.options)
        yield {
            "pid": str(number + 1),
            "question": question.text,
            "image": f"images/{number + 1}.png",
            "decoded_image": d.draw(picture),
            "choices": list(question.options),
            "unit": "",
            "precision": 0.0,
            "answer": question.answer,
            "question_type": "multi_choice" if choice else "free_form",
            "answer_type": "text" if choice else "integer",
            "metadata": {"split": "testmini", "language": "english", "skills": [question.category]},
            "query": question.prompt,
        }
