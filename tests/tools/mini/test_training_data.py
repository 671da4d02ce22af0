"""Training rows: what a token sees, with which pixels it is trained, how often skills are drawn."""

import itertools

import numpy as np
import pytest

from tasks.mini.questions.skills import SKILLS
from tasks.mini.suites import suite_rows
from tasks.mini.world.language import build_tokenizer
from tools.mini.model import IMAGE_TOKENS, build_processor
from tools.mini.training_data import Diet, TrainingRows, collate


@pytest.fixture(scope="module")
def processor():
    return build_processor(build_tokenizer())


def test_evaluation_pictures_are_never_drawn_in_training(processor):
    stream = iter(TrainingRows(processor, 128, 0, Diet()))
    trained = {image.tobytes() for row in itertools.islice(stream, 200) for image in row.images}
    evaluated = {np.asarray(row["image"]).tobytes() for row in suite_rows("pope", 200)}
    assert not trained & evaluated


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
    total = np.ones(len(SKILLS)) * 10
    right = total.copy()
    right[0] = 0
    for _ in range(30):
        diet.update(right, total)
    assert diet.weights()[0] > 5 * diet.weights()[1]
