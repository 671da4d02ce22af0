"""Training rows: what a token sees, with which pixels it is trained, how often skills are drawn."""

import itertools
import re

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration

from tasks.mini.questions.facts import ATTRIBUTES
from tasks.mini.questions.skills import SKILL_NAMES, SKILLS
from tasks.mini.suites import suite_rows
from tasks.mini.world.facts import World
from tasks.mini.world.language import build_tokenizer
from tasks.mini.world.pictures import CELL_PIXELS, SMALL
from tools.mini.deep_model import (
    build_deep_config,
    build_deep_model,
    build_deep_processor,
    build_deep_tokenizer,
)
from tools.mini.layout import LlavaLayout, QwenLayout
from tools.mini.model import IMAGE_TOKENS, build_processor
from tools.mini.training_data import FACT_NAMES, IGNORED, Diet, TrainingRows, collate

SIZES = [SMALL, (5, 9), (8, 6)]


@pytest.fixture(scope="module")
def processor():
    return build_processor(build_tokenizer())


@pytest.fixture(scope="module")
def layout(processor):
    return LlavaLayout(processor)


@pytest.fixture(scope="module")
def deep():
    """Three blocks of the deep model with random weights, its processor and layout."""
    torch.manual_seed(0)
    tokenizer = build_deep_tokenizer()
    model = Qwen2_5_VLForConditionalGeneration(build_deep_config(tokenizer, blocks=3)).eval()
    processor = build_deep_processor(tokenizer)
    return model, processor, QwenLayout(processor)


def test_evaluation_pictures_are_never_drawn_in_training(layout):
    stream = iter(TrainingRows(layout, 128, 0, Diet()))
    trained = {image.tobytes() for row in itertools.islice(stream, 200) for image in row.images}
    evaluated = {np.asarray(row["image"]).tobytes() for row in suite_rows("pope", 200)}
    assert not trained & evaluated


def test_a_question_in_a_packed_row_sees_its_picture_and_itself_only(processor, layout):
    row = next(iter(TrainingRows(layout, 128, 1, Diet(), text_share=0.0)))
    batch = collate([row], 128, layout)
    seen = batch["attention"][0, 0]
    for i in range(len(row.tokens)):
        for j in range(len(row.tokens)):
            related = row.segment[i] == row.segment[j] and row.question[j] in (0, row.question[i])
            assert bool(seen[i, j]) == (j <= i and related)
    assert row.tokens.count(
        processor.tokenizer.convert_tokens_to_ids("<image>")
    ) == IMAGE_TOKENS * len(row.images)


def test_packed_rows_are_trained_with_the_pixels_that_the_processor_gives(processor, layout):
    row = next(iter(TrainingRows(layout, 128, 1, Diet(), text_share=0.0)))
    pixels = collate([row], 128, layout)["pixel_values"]
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


def test_the_deep_model_has_the_size_that_its_file_may_have():
    model = build_deep_model(build_deep_tokenizer())
    assert 2 * sum(parameter.numel() for parameter in model.parameters()) < 30e6
    assert len(model.model.language_model.layers) >= 20
    linears = [one for one in model.model.language_model.modules() if isinstance(one, nn.Linear)]
    assert all(linear.in_features % 256 == 0 for linear in linears)


@pytest.mark.parametrize("size", [*SIZES, (14, 14)])
def test_a_picture_of_the_deep_model_has_a_token_a_cell_and_qwens_positions(deep, size):
    model, processor, layout = deep
    tokens, positions = layout.head(size)
    image = np.zeros((size[0] * CELL_PIXELS, size[1] * CELL_PIXELS, 3), dtype=np.uint8)
    text = processor.apply_chat_template(asked("yes"), add_generation_prompt=True)
    inputs = processor(text=[text], images=[image], return_tensors="pt")
    assert inputs["input_ids"][0, : len(tokens)].tolist() == tokens
    expected, _ = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
    )
    assert [tuple(one) for one in expected[:, 0].T.tolist()][: len(tokens)] == positions
    assert tokens.count(processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")) == (
        size[0] * size[1]
    )


def asked(question):
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


@torch.inference_mode()
def test_what_the_deep_model_sees_in_training_is_what_it_sees_when_one_question_is_asked(deep):
    model, processor, layout = deep
    rows = TrainingRows(layout, 400, 3, Diet(), text_share=0.2, sizes=SIZES)
    packed = list(itertools.islice(rows, 2))
    batch = collate(packed, 400, layout)
    hidden = torch.finfo(torch.float32).min
    logits = model(
        input_ids=batch["input_ids"],
        pixel_values=batch["pixel_values"],
        image_grid_thw=batch["image_grid_thw"],
        attention_mask={"full_attention": torch.where(batch["attention"], 0.0, hidden)},
        position_ids=batch["position_ids"],
    ).logits
    compared = 0
    for number, row in enumerate(packed):
        pictures = iter(row.images)
        for segment in dict.fromkeys(row.segment):
            places = [i for i, one in enumerate(row.segment) if one == segment]
            if not any(row.question[i] for i in places):
                continue  # a text
            image = next(pictures)
            head = [i for i in places if row.question[i] == 0]
            for question in sorted({row.question[i] for i in places} - {0}):
                own = [i for i in places if row.question[i] == question]
                alone = torch.tensor([[row.tokens[i] for i in (*head, *own)]])
                pixels = processor.image_processor([image], return_tensors="pt")
                answer = model(
                    input_ids=alone,
                    mm_token_type_ids=(alone == model.config.image_token_id).int(),
                    **pixels,
                ).logits[0, len(head) :]
                assert torch.allclose(logits[number, own], answer, atol=1e-4)
                compared += 1
    assert compared >= 5


def test_rows_about_people_teach_what_is_true_of_them_in_every_form(deep):
    layout, world = deep[2], World(40)
    numbers = {world.person(number).name: number for number in range(world.count)}
    diet = Diet((*SKILL_NAMES, *FACT_NAMES))
    stream = TrainingRows(layout, 320, 5, diet, sizes=SIZES, people=world, people_share=1.0)
    skills, images, told, asked = set(), 0, 0, 0
    for row in itertools.islice(stream, 80):
        assert len(row.tokens) == len(row.labels) == len(row.positions) <= 320
        skills |= set(row.skill) - {-1}
        images += len(row.images)
        for segment in set(row.segment):
            own = [i for i, one in enumerate(row.segment) if one == segment]
            text = layout.tokenizer.decode([row.tokens[i] for i in own])
            for name, home in re.findall(r"(\w+) lives in (\w+)", text):
                assert world.person(numbers[name]).home == home
                told += 1
            if named := re.search(r"Where does (\w+) live \?", text):
                answer = [row.labels[i] for i in own if row.labels[i] != IGNORED]
                home = world.person(numbers[named[1]]).home
                assert layout.tokenizer.decode(answer, skip_special_tokens=True) in (home, *"ABCD")
                asked += 1
    assert skills == {diet.names.index(f"fact_{attribute}") for attribute in ATTRIBUTES}
    assert min(images, told, asked) >= 5
