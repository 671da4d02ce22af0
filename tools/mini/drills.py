"""Questions without a picture, which only training asks."""

from __future__ import annotations

import random

from tasks.mini.questions.question import Question
from tasks.mini.questions.scenes import OPPOSITE, RELATION_TEXT
from tasks.mini.world.language import random_letters
from tasks.mini.world.pictures import CATEGORIES, COLORS, KINDS


def option_drill(rng: random.Random) -> Question:
    """Which option has a name, or belongs to a group: answering with a letter."""
    count = rng.choice((2, 3, 4, 4))
    if rng.random() < 0.5:
        pool = rng.choice((KINDS, tuple(COLORS), tuple("0123456789")))
        options = tuple(rng.sample(pool, count))
        answer = rng.choice(options)
        return Question("mmbench", "drill", f"Which is {answer}?", answer, options)
    groups = {"color": tuple(COLORS), "number": tuple("123456789"), **CATEGORIES}
    name = rng.choice(list(groups))
    answer = rng.choice(groups[name])
    others = [v for other, members in groups.items() if other != name for v in members]
    mixed = [answer, *rng.sample(others, count - 1)]
    rng.shuffle(mixed)
    return Question("mmbench", "drill", f"Which is a {name}?", answer, tuple(mixed))


def verification_drill(rng: random.Random) -> Question:
    """A statement and MME's question about it: comparing."""
    code = [random_letters(rng) for _ in range(2)]
    numbers = [str(n) for n in rng.sample(range(19), 2)]
    colors, kinds = rng.sample(list(COLORS), 2), rng.sample(KINDS, 2)
    relation = rng.choice(list(RELATION_TEXT))
    statement, question, (right, wrong) = rng.choice(
        (
            ("The answer is {}.", "Is the answer {}?", numbers),
            ("The output is {}.", "Is the output {}?", [n[-1] for n in numbers]),
            ("The word means {}.", "Does the word mean {}?", kinds),
            (f"The {colors[0]} word is {{}}.", f"Is the {colors[0]} word {{}}?", code),
            (
                "There is a {} " + kinds[0] + ".",
                "Is there a {} " + kinds[0] + " in this image?",
                colors,
            ),
            (
                f"The {kinds[0]} is {{}} the {kinds[1]}.",
                f"Is the {kinds[0]} {{}} the {kinds[1]}?",
                [
                    RELATION_TEXT[relation],
                    RELATION_TEXT[OPPOSITE[relation]],
                ],
            ),
        )
    )
    answer = "Yes" if right == wrong or rng.random() < 0.5 else "No"
    return Question(
        "auxiliary",
        "verification",
        f"{statement.format(right)} {question.format(right if answer == 'Yes' else wrong)}",
        answer,
    )
