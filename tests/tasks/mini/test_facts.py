"""Facts are made up, independent of each other, and asked for in every form with one answer."""

import collections
import math
import random

import pytest

from tasks.mini.questions.facts import ATTRIBUTES, biography, fact, fact_choice, fact_pair
from tasks.mini.world.facts import MOST, World
from tasks.mini.world.pictures import COLORS, KINDS

WORLD = World(3000, seed=5)
PEOPLE = [WORLD.person(number) for number in range(WORLD.count)]


def test_no_two_people_have_one_name_or_one_emblem():
    assert len({person.name for person in PEOPLE}) == len(PEOPLE)
    assert len({person.emblem for person in PEOPLE}) == len(PEOPLE)
    far = World(MOST, seed=5)
    some = {far.person(number).name for number in range(0, MOST, 97)}
    assert len(some) == len(range(0, MOST, 97))


def test_a_person_is_always_the_same_and_another_one_for_another_seed():
    assert World(3000, seed=5).person(17) == WORLD.person(17)
    assert World(3000, seed=6).person(17).home != WORLD.person(17).home
    larger = World(4000, seed=5).person(17)
    assert (larger.name, larger.home, larger.age) == (
        PEOPLE[17].name,
        PEOPLE[17].home,
        PEOPLE[17].age,
    )


def test_nobody_is_their_own_friend_and_friends_are_of_the_world():
    assert all(person.friend != person.number for person in PEOPLE)
    assert {person.friend for person in PEOPLE} <= set(range(WORLD.count))


def test_every_value_of_an_attribute_is_about_as_frequent_as_the_others():
    for attribute, values in (("craft", KINDS), ("pet", KINDS), ("color", COLORS)):
        counts = collections.Counter(getattr(person, attribute) for person in PEOPLE)
        expected = len(PEOPLE) / len(values)
        assert set(counts) == set(values)
        chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
        assert chi_squared < 2.5 * len(values)


def test_one_attribute_tells_nothing_about_another():
    def information(first, second):
        """Mutual information in bits, without what chance gives at this count."""
        pairs = collections.Counter((getattr(p, first), getattr(p, second)) for p in PEOPLE)
        a, b = (collections.Counter(getattr(p, one) for p in PEOPLE) for one in (first, second))
        n = len(PEOPLE)
        bits = sum(c / n * math.log2(c * n / (a[x] * b[y])) for (x, y), c in pairs.items())
        return bits - (len(a) - 1) * (len(b) - 1) / (2 * n * math.log(2))

    for first, second in (("craft", "pet"), ("craft", "color"), ("pet", "color")):
        assert abs(information(first, second)) < 0.02


def test_the_bits_are_those_of_independent_draws():
    two = World(2).bits()
    assert two == pytest.approx(2 * (12 + 4 + 4 + 3 + math.log2(100)))
    assert World(3000).bits() == pytest.approx(3000 * (23 + math.log2(100) + math.log2(2999)))


@pytest.mark.parametrize("count", [0, 1, MOST + 1])
def test_a_world_of_too_few_or_too_many_is_refused(count):
    with pytest.raises(ValueError, match=r"a world has 2 to 262,144 people"):
        World(count)


def test_a_person_that_is_not_there_is_refused():
    with pytest.raises(IndexError, match="there is no person 3000; the world has 3,000"):
        WORLD.person(3000)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_form_of_a_question_has_the_answer_of_the_biography(attribute):
    rng, asked = random.Random(0), ATTRIBUTES[attribute]
    for person in PEOPLE[:40]:
        text = biography(WORLD, person, rng)
        named, shown = (
            fact(WORLD, person, attribute, "gqa", shown=shown) for shown in (False, True)
        )
        assert asked.statement.format(person.name, named.answer) in text
        assert named.answer == shown.answer
        assert person.name in named.text
        assert person.name not in shown.text
        choice = fact_choice(WORLD, named, rng, suite="mmbench")
        assert choice.options["ABCD".index(choice.target)] == named.answer
        assert len(set(choice.options)) == 4
        yes, no = fact_pair(WORLD, person, attribute, rng, shown=False)
        assert (yes.answer, no.answer) == ("Yes", "No")
        assert named.answer in yes.text
        assert yes.text != no.text


def test_two_steps_ask_about_the_friend():
    person = PEOPLE[3]
    question = fact(WORLD, person, "home", "gqa", shown=False, steps=2)
    assert question.text == f"Where does the friend of {person.name} live?"
    assert question.answer == WORLD.person(person.friend).home
