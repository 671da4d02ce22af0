"""The nine mini suites as data sets on disk, with the columns of the real ones:

`python -m tasks.mini.suites --out FOLDER`.

lmms-eval's own command line reads them from there; the harness draws them into its store by itself.
Everything is drawn from a seed that training never uses; words on signs come from the held-out
list. Questions that belong together (MME's pairs, MMBench's circular groups, POPE's six of a
picture) stand next to each other.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
from PIL import Image

from tasks.mini import questions
from tasks.mini.language import words_on_signs
from tasks.mini.mme import MME_SKILLS, mme_picture
from tasks.mini.questions import OPTION_LETTERS, Question, Skill
from tasks.mini.scenes import COLORS, IMAGE_PIXELS, KINDS, Picture, Scene, draw

SEED = 20260
SELECTION_SEED = 20261  # of the split that a setting may be chosen by; nothing is reported on it
QUESTIONS = 500
VERSION = 2  # raise it whenever the same seed would draw other questions
Row = dict[str, Any]

_MATH: tuple[tuple[str, Skill], ...] = (
    ("board:sum", questions.math_sum),
    ("board:sequence", questions.math_sequence),
    ("scene", questions.math_corners),
    ("board:numbers", questions.math_extreme),
    ("board", questions.mathvista_choice),
)


class Drawer:
    """Pictures and questions of one suite from one seed."""

    def __init__(self, suite: str, seed: int):
        self.rng = random.Random(f"{suite}-{seed}-{VERSION}")
        self.words = words_on_signs(held_out=True)

    def picture(self, kind: str) -> Picture:
        return questions.random_picture(kind, self.rng, lambda: self.rng.choice(self.words))

    def draw(self, picture: Picture) -> Image.Image:
        return draw(picture, self.rng)

    def ask(self, kind: str, skill: Callable[[Picture, random.Random], Any]) -> tuple[Picture, Any]:
        """A picture of this kind to which the skill has a question, and the question."""
        while True:
            picture = self.picture(kind)
            question = skill(picture, self.rng)
            if question is not None:
                return picture, question


def mme_rows(d: Drawer, count: int) -> Iterator[Row]:
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
    """Each question four times, its options rotated: right only if right every time."""
    names = list(questions.MMBENCH_CATEGORIES)
    for number in range(-(-count // 4)):
        category = names[number % len(names)]
        group, skill = questions.MMBENCH_CATEGORIES[category]
        picture, plain = d.ask("chart" if "chart" in skill.__name__ else "scene", skill)
        question = questions.as_choice(plain, picture, d.rng, suite="mmbench")
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
    for number in range(count):
        picture, question = d.ask("sign", questions.textvqa)
        yield {
            "image_id": f"mini{number:06d}",
            "question_id": number,
            "question": question.text,
            "question_tokens": question.text.lower().rstrip("?").split(),
            "image": d.draw(picture),
            "image_width": IMAGE_PIXELS,
            "image_height": IMAGE_PIXELS,
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
    skills = (
        questions.vqav2_color,
        questions.vqav2_count_kind,
        questions.vqav2_count_color,
        questions.vqav2_yes_no,
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
    skills = (questions.gqa_neighbour, questions.gqa_neighbour_color, questions.gqa_compare)
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
    splits = ("random", "popular", "adversarial")
    written = 0
    while written < count:
        picture = d.picture("scene")
        assert isinstance(picture, Scene)
        asked = questions.pope_questions(picture, splits[(written // 6) % 3], d.rng)
        if len(asked) < 6:
            continue
        image = d.draw(picture)
        for question in asked:
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
    human = (questions.chartqa_extreme, questions.chartqa_extreme_value, questions.chartqa_count)
    for number in range(count):
        picture, question = d.ask(
            "chart", questions.chartqa_value if number % 4 == 3 else human[number % 4]
        )
        yield {
            "type": question.category,
            "question": question.text,
            "answer": question.answer,
            "image": d.draw(picture),
            "image_id": number,
        }


def docvqa_rows(d: Drawer, count: int) -> Iterator[Row]:
    for number in range(count):
        picture, question = d.ask("form", questions.docvqa)
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


# suite: (split of the real data set, rows, column of the picture)
SUITES: dict[str, tuple[str, Callable[[Drawer, int], Iterator[Row]], str]] = {
    "mme": ("test", mme_rows, "image"),
    "mmbench": ("dev", mmbench_rows, "image"),
    "textvqa": ("validation", textvqa_rows, "image"),
    "vqav2": ("validation", vqav2_rows, "image"),
    "gqa": ("testdev", gqa_rows, "image"),
    "pope": ("test", pope_rows, "image"),
    "chartqa": ("test", chartqa_rows, "image"),
    "docvqa": ("validation", docvqa_rows, "image"),
    "mathvista": ("testmini", mathvista_rows, "decoded_image"),
}


def suite_dataset(suite: str, *, count: int = QUESTIONS, seed: int = SEED) -> datasets.DatasetDict:
    """At least `count` questions of one suite; groups of questions that belong together are never
    cut.
    """
    split, rows, column = SUITES[suite]
    table = list(rows(Drawer(suite, seed), count))
    return datasets.DatasetDict(
        {split: datasets.Dataset.from_list(table).cast_column(column, datasets.Image())}
    )


def write_suites(folder: Path, *, count: int = QUESTIONS, seed: int = SEED) -> None:
    for suite in SUITES:
        suite_dataset(suite, count=count, seed=seed).save_to_disk(folder / suite)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("mini_suites"),
        help="where lmms-eval is run, the task files expect mini_suites/",
    )
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    write_suites(arguments.out, count=arguments.questions, seed=arguments.seed)
