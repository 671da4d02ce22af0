"""The pictures, questions and words of the embedded world."""

import itertools
import random

import numpy as np
import pytest

from tasks.mini import language, questions, scenes, suites
from tools.mini.model import IMAGE_TOKENS, build_processor
from tools.mini.training_data import SKILLS, Diet, TrainingRows, collate


@pytest.fixture(scope="module")
def processor():
    return build_processor(language.build_tokenizer())


def sample_questions(seed, count=400):
    rng = random.Random(seed)
    words = language.words_on_signs(held_out=True)
    while count:
        kind, ask = rng.choice(list(SKILLS.values()))
        picture = questions.random_picture(kind, rng, lambda: rng.choice(words))
        question = ask(picture, rng)
        if question is not None:
            count -= 1
            yield picture, question


def test_a_seed_draws_the_same_picture_and_another_seed_another():
    def pixels(seed):
        rng = random.Random(seed)
        return np.asarray(scenes.draw(scenes.random_scene(rng), rng))

    assert np.array_equal(pixels(1), pixels(1))
    assert not np.array_equal(pixels(1), pixels(2))
    assert pixels(1).shape == (64, 64, 3)


def test_every_symbol_is_drawn_and_no_two_look_alike():
    masks = {
        s: scenes.glyph_mask(s) for s in (*scenes.KINDS, *scenes.LETTERS, *scenes.DIGITS, *"+-=>?")
    }
    assert all(mask.sum() > 2 for mask in masks.values())
    for (a, first), (b, second) in itertools.combinations(masks.items(), 2):
        assert np.abs(first - second).sum() > 1, (a, b)


def test_every_question_and_answer_is_made_of_known_tokens_and_decodes_to_itself(processor):
    tokenizer = processor.tokenizer
    for _, question in sample_questions(0):
        ids = tokenizer.encode(question.prompt + " " + question.target)
        assert tokenizer.unk_token_id not in ids, question
        if question.suite not in ("caption", "auxiliary"):
            assert tokenizer.decode(tokenizer.encode(question.target)) == question.target


def test_training_and_evaluation_read_different_words():
    seen = set(language.words_on_signs(held_out=False))
    held_out = set(language.words_on_signs(held_out=True))
    assert not seen & held_out
    assert len(held_out) > 80
    rng = random.Random(0)
    assert not {language.random_letters(rng) for _ in range(5000)} & held_out


def test_evaluation_pictures_are_never_drawn_in_training(processor):
    stream = iter(TrainingRows(processor, 128, 0, Diet()))
    trained = {image.tobytes() for row in itertools.islice(stream, 200) for image in row.images}
    asked = {
        np.asarray(row["image"]).tobytes()
        for row in suites.pope_rows(suites.Drawer("pope", suites.SEED), 200)
    }
    assert not trained & asked


def test_relations_and_counts_agree_with_the_picture():
    for picture, question in sample_questions(3, 600):
        if question.category == "number" and " red " in question.text:
            assert question.answer == str(sum(t.color == "red" for t in picture.things))
        if question.suite == "gqa" and question.text.startswith("What is left of"):
            anchor = next(
                t for t in picture.things if t.kind == question.text.split()[-1].rstrip("?")
            )
            (left,) = [
                t for t in picture.things if (t.row, t.column) == (anchor.row, anchor.column - 1)
            ]
            assert left.kind == question.answer


def test_yes_and_no_are_balanced():
    rows = list(suites.pope_rows(suites.Drawer("pope", 5), 300)) + list(
        suites.mme_rows(suites.Drawer("mme", 5), 300)
    )
    assert np.mean([row["answer"].lower() == "yes" for row in rows]) == 0.5


@pytest.mark.parametrize("suite", suites.SUITES)
def test_a_suite_is_drawn_alike_from_a_seed_and_keeps_its_groups_whole(suite):
    _, rows, column = suites.SUITES[suite]
    first, second = (list(rows(suites.Drawer(suite, 7), 21)) for _ in range(2))
    told = [
        [{k: v for k, v in row.items() if k != column} for row in rows] for rows in (first, second)
    ]
    assert told[0] == told[1]
    assert len(first) >= 21
    if suite == "mme":
        assert all(
            a["question_id"] == b["question_id"]
            for a, b in zip(first[::2], first[1::2], strict=True)
        )
    if suite == "mmbench":
        assert len(first) % 4 == 0


def test_circular_groups_rotate_the_same_options_and_answers_follow():
    rows = list(suites.mmbench_rows(suites.Drawer("mmbench", 3), 40))
    for group in zip(*[iter(rows)] * 4, strict=True):
        assert len({row["index"] % 1_000_000 for row in group}) == 1
        assert len({row[row["answer"]] for row in group}) == 1
        assert {row["answer"] for row in group} == set("ABCD")


def test_a_question_in_a_packed_row_sees_its_picture_and_itself_only(processor):
    row = next(iter(TrainingRows(processor, 128, 1, Diet(), text_share=0.0)))
    batch = collate([row], 128, 0, processor.image_processor)
    seen = batch["attention"][0, 0]
    for i in range(len(row.tokens)):
        for j in range(len(row.tokens)):
            related = row.segment[i] == row.segment[j] and row.question[j] in (0, row.question[i])
            assert bool(seen[i, j]) == (j <= i and related)
    assert row.tokens.count(
        processor.tokenizer.convert_tokens_to_ids("<image>")
    ) == IMAGE_TOKENS * len(row.images)


def test_packed_rows_are_trained_with_the_pixels_that_the_processor_gives(processor):
    row = next(iter(TrainingRows(processor, 128, 1, Diet(), text_share=0.0)))
    pixels = collate([row], 128, 0, processor.image_processor)["pixel_values"]
    expected = processor.image_processor(row.images, return_tensors="pt")["pixel_values"]
    assert np.allclose(pixels.numpy(), expected.numpy(), atol=1e-6)


def test_a_skill_answered_wrongly_gets_more_of_the_diet():
    diet = Diet()
    asked = np.ones(len(SKILLS)) * 10
    right = asked.copy()
    right[0] = 0
    for _ in range(30):
        diet.update(right, asked)
    assert diet.weights()[0] > 5 * diet.weights()[1]
