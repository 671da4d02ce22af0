"""Questions about scenes: VQAv2, GQA and POPE."""

from __future__ import annotations

import random

from tasks.mini.questions.question import Question, other
from tasks.mini.world.language import PLURAL
from tasks.mini.world.pictures import (
    COLORS,
    KIND_WEIGHTS,
    KINDS,
    Picture,
    Scene,
    Thing,
)

# (rows down, columns across) from an anchor to the thing that stands in this relation to it.
RELATIONS: dict[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "above": (-1, 0),
    "below": (1, 0),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
RELATION_TEXT = {"left": "left of", "right": "right of", "above": "above", "below": "below"}


def relations(a: Thing, b: Thing) -> list[str]:
    """Every relation of `RELATIONS` in which `a` stands to `b`, at least one."""
    holding = []
    if a.column != b.column:
        holding.append("left" if a.column < b.column else "right")
    if a.row != b.row:
        holding.append("above" if a.row < b.row else "below")
    return holding


def vqav2_color(picture: Picture, rng: random.Random) -> Question | None:
    """The colour of an object whose kind occurs once."""
    if not isinstance(picture, Scene) or not picture.unique():
        return None
    thing = rng.choice(picture.unique())
    return Question("vqav2", "other", f"What color is the {thing.kind}?", thing.color)


def vqav2_count_kind(picture: Picture, rng: random.Random) -> Question | None:
    """How many objects of a kind there are."""
    if not isinstance(picture, Scene):
        return None
    kind = rng.choice(picture.things).kind
    return Question(
        "vqav2", "number", f"How many {PLURAL[kind]} are there?", str(picture.count(kind=kind))
    )


def vqav2_count_color(picture: Picture, rng: random.Random) -> Question | None:
    """How many objects of a colour there are."""
    if not isinstance(picture, Scene):
        return None
    color = rng.choice(picture.things).color
    return Question(
        "vqav2", "number", f"How many {color} objects are there?", str(picture.count(color=color))
    )


def vqav2_yes_no(picture: Picture, rng: random.Random) -> Question | None:
    """Whether an object has a colour."""
    if not isinstance(picture, Scene) or not picture.unique():
        return None
    thing = rng.choice(picture.unique())
    if rng.random() < 0.5:
        return Question("vqav2", "yes/no", f"Is the {thing.kind} {thing.color}?", "yes")
    return Question(
        "vqav2", "yes/no", f"Is the {thing.kind} {other(rng, list(COLORS), thing.color)}?", "no"
    )


def _neighbours(picture: Scene) -> list[tuple[Thing, str, Thing]]:
    """(thing, relation, anchor) for things that touch an anchor of a unique kind."""
    at = {(t.row, t.column): t for t in picture.things}
    return [
        (at[place], relation, anchor)
        for anchor in picture.unique()
        for relation, (down, across) in RELATIONS.items()
        if (place := (anchor.row + down, anchor.column + across)) in at
    ]


def gqa_neighbour(picture: Picture, rng: random.Random) -> Question | None:
    """The kind of the object next to another one."""
    if not isinstance(picture, Scene) or not (pairs := _neighbours(picture)):
        return None
    thing, relation, anchor = rng.choice(pairs)
    return Question(
        "gqa", "query", f"What is {RELATION_TEXT[relation]} the {anchor.kind}?", thing.kind
    )


def gqa_neighbour_color(picture: Picture, rng: random.Random) -> Question | None:
    """The colour of the object next to another one."""
    if not isinstance(picture, Scene) or not (pairs := _neighbours(picture)):
        return None
    thing, relation, anchor = rng.choice(pairs)
    return Question(
        "gqa",
        "query",
        f"What color is the object {RELATION_TEXT[relation]} the {anchor.kind}?",
        thing.color,
    )


def gqa_compare(picture: Picture, rng: random.Random) -> Question | None:
    """Whether a relation holds between two objects."""
    if not isinstance(picture, Scene) or len(picture.unique()) < 2:
        return None
    a, b = rng.sample(picture.unique(), 2)
    relation = rng.choice(relations(a, b))
    answer = "yes" if rng.random() < 0.5 else "no"
    stated = relation if answer == "yes" else OPPOSITE[relation]
    return Question(
        "gqa",
        "verify",
        f"Is the {a.color} {a.kind} {RELATION_TEXT[stated]} the {b.color} {b.kind}?",
        answer,
    )


def pope_questions(picture: Scene, split: str, rng: random.Random) -> list[Question]:
    """Up to three present and as many absent kinds of one scene, asked as POPE does.

    Args:
        picture: The scene.
        split: Random, popular (frequent kinds are absent) or adversarial (kinds that often occur
            with those present).
        rng: Source of all randomness.
    """
    present = list(dict.fromkeys(t.kind for t in picture.things))
    absent = [k for k in KINDS if k not in present]
    if split == "popular":
        absent.sort(key=lambda k: -KIND_WEIGHTS[KINDS.index(k)])
    elif split == "adversarial":
        absent.sort(key=lambda k: -sum(_together(k, p) for p in present))
    else:
        rng.shuffle(absent)
    size = min(3, len(present))
    chosen = [(k, "yes") for k in rng.sample(present, size)] + [(k, "no") for k in absent[:size]]
    return [
        Question("pope", split, f"Is there a {kind} in the image?", answer)
        for kind, answer in chosen
    ]


def _together(a: str, b: str) -> float:
    """How often two kinds share a scene: `random_scene` takes half of it from one category."""
    return 4.0 * (KINDS.index(a) // 4 == KINDS.index(b) // 4) + KIND_WEIGHTS[KINDS.index(a)]


def pope(picture: Picture, rng: random.Random) -> Question | None:
    """One of the questions that POPE asks about a scene."""
    if not isinstance(picture, Scene):
        return None
    return rng.choice(
        pope_questions(picture, rng.choice(("random", "popular", "adversarial")), rng)
    )
