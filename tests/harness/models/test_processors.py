"""Both multimodal families and both text families, from folder to answer, on replicas of the real
classes.
"""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from harness.errors import ConfigError
from harness.evaluation.lmms_model import LuqModel
from harness.models.load import load_model
from harness.models.prepared import PreparedInputs
from harness.models.processors import QwenProcessor, TextProcessor
from harness.models.source import find_model
from tests import replicas
from tests.harness.evaluation.test_lmms_model import requests_for

needs_tokenizers = pytest.mark.skipif(
    not replicas.TOKENIZERS.is_dir(), reason=f"needs the real tokenizers in {replicas.TOKENIZERS}"
)
BUILDERS = {"qwen2_5_vl": replicas.qwen_vl, "llava": replicas.llava}


@pytest.fixture
def rows():
    """Pictures of very different shapes, one of them asked about twice."""
    rng = np.random.default_rng(0)
    shapes = [(60, 200), (200, 60), (120, 120), (33, 90), (150, 260)]
    images = [
        Image.fromarray(rng.integers(0, 255, (*shape, 3), dtype=np.uint8)) for shape in shapes
    ]
    return [
        {"image": images[i % 5], "question": f"what is in the picture {'and why ' * i}?"}
        for i in range(6)
    ]


def loaded_from(folder):
    load_model.cache_clear()
    loaded = load_model("replica", str(folder), "float32", "cpu")
    load_model.cache_clear()
    return loaded


def answers(loaded, rows, *, batch_size=1, **options):
    lm = LuqModel(loaded=loaded, batch_size=batch_size, **options)
    lm.task_dict = {"suite": {"test": rows}}
    found = lm.generate_until(requests_for(rows))
    assert not lm.errors
    return found


@pytest.mark.parametrize(
    "real",
    [False, pytest.param(True, marks=needs_tokenizers)],
    ids=["byte tokenizer", "real tokenizer"],
)
@pytest.mark.parametrize("family", BUILDERS)
def test_a_replica_answers_alike_alone_in_batches_and_from_cached_features(
    tmp_path, monkeypatch, rows, family, real
):
    loaded = loaded_from(BUILDERS[family](tmp_path / "model", real_tokenizer=real))
    assert loaded.family.name == family
    assert len(loaded.blocks) == 3
    alone = answers(loaded, rows)
    assert len(loaded.prepared.features.memory) == 5
    assert answers(loaded, rows, batch_size=4) == alone
    ahead = answers(
        dataclasses.replace(loaded, prepared=PreparedInputs()), rows, batch_size=2, prefetch=True
    )
    assert ahead == alone
    monkeypatch.setattr("harness.evaluation.inputs._separable", lambda _loaded: False)
    assert (
        answers(dataclasses.replace(loaded, prepared=PreparedInputs()), rows, batch_size=3) == alone
    )


def test_qwens_features_and_positions_are_those_that_its_own_forward_computes(tmp_path, rows):
    loaded = loaded_from(replicas.qwen_vl(tmp_path / "model"))
    text = "<|vision_start|><|image_pad|><|vision_end|>what?"
    whole = loaded.processor(text=[text], images=[rows[0]["image"]], return_tensors="pt")
    grid = whole["image_grid_thw"]
    assert (
        int((whole["input_ids"] == loaded.model.config.image_token_id).sum())
        == int(grid.prod()) // 4
    )
    lm = LuqModel(loaded=loaded)
    lm.task_dict = {"suite": {"test": rows}}
    questions = [lm._question(request) for request in requests_for(rows[:3])]
    inputs = lm._inputs(questions)
    seen = loaded.processor(
        text=[q.prompt for q in questions],
        images=[r["image"] for r in rows[:3]],
        padding=True,
        return_tensors="pt",
        padding_side="left",
    )
    for name in ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw"):
        assert torch.equal(inputs[name], seen[name]), name
    with torch.inference_mode():
        expected, found = loaded.model(**seen).logits, loaded.model(**inputs).logits
    real = seen["attention_mask"].bool()
    assert torch.allclose(found[real], expected[real], atol=1e-5)


def test_the_length_by_which_batches_are_sorted_counts_the_tokens_of_pictures(tmp_path, rows):
    loaded = loaded_from(replicas.qwen_vl(tmp_path / "model"))
    lm = LuqModel(loaded=loaded)
    lm.task_dict = {"suite": {"test": rows}}
    for request in requests_for(rows):
        question = lm._question(request)
        given = loaded.processor(
            text=[question.prompt], images=question.visuals(), return_tensors="pt"
        )
        pictures = int((given["mm_token_type_ids"] == 1).sum())
        assert pictures <= question.tokens <= pictures + len(question.prompt)


def test_the_processor_of_qwen_survives_a_round_trip(tmp_path):
    processor = loaded_from(replicas.qwen_vl(tmp_path / "model")).processor
    assert isinstance(processor, QwenProcessor)
    processor.save_pretrained(tmp_path / "again")
    again = QwenProcessor.from_pretrained(tmp_path / "again", backend="pil")
    assert again.chat_template == processor.chat_template
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()


def test_a_language_model_gets_a_tokenizer_and_refuses_pictures(tmp_path, rows):
    loaded = loaded_from(replicas.qwen2_text(tmp_path / "model"))
    assert isinstance(loaded.processor, TextProcessor)
    assert loaded.family.name == "qwen2"
    with pytest.raises(ConfigError, match="takes no pictures; choose a suite of texts"):
        loaded.processor(["what?"], images=[rows[0]["image"]])


def test_the_content_of_a_folder_names_the_model(tmp_path):
    folder = replicas.qwen2_text(tmp_path / "model")
    first = find_model(str(folder)).identity
    assert find_model(str(folder)).identity == first
    shard = sorted(folder.glob("*.safetensors"))[-1]
    data = bytearray(shard.read_bytes())
    data[-2] ^= 1
    shard.write_bytes(data)
    assert find_model(str(folder)).identity != first
