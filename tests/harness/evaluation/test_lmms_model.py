import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.registry import MODEL_REGISTRY  # noqa: F401  (the real package is there)
from PIL import Image

from harness.errors import CellError, StoreError
from harness.evaluation.lmms_model import LuqModel
from harness.store.answers import AnswerLog
from luq.types import QuantizationError
from tasks.mini import suites


@pytest.fixture(scope="module")
def docs():
    """Questions of two suites with prompts of very different lengths."""
    rows = [
        *suites.suite_rows("mmbench", 8, seed=1),
        *suites.suite_rows("pope", 12, seed=1),
    ]
    rows += suites.suite_rows("docvqa", 8, seed=1)
    return rows


def text_of(row):
    options = "\n".join(f"{letter}. {row[letter]}" for letter in "ABCD" if letter in row)
    return (
        f"{row['question']} There are several options:\n{options}" if options else row["question"]
    )


def requests_for(docs, **generation):
    """Requests as lmms-eval makes them."""
    arguments = {"max_new_tokens": 6, "until": ["\n\n"], **generation}
    return [
        Instance(
            request_type="generate_until",
            arguments=(
                text_of(row),
                dict(arguments),
                lambda doc: [doc["image"]],
                i,
                "suite",
                "test",
            ),
            idx=0,
            metadata={"task": "suite", "doc_id": i, "repeats": 1},
        )
        for i, row in enumerate(docs)
    ]


def model_for(embedded, docs, batch_size=8, log=None):
    lm = LuqModel(loaded=embedded, batch_size=batch_size)
    lm.task_dict = {"suite": {"test": docs}}
    lm.log = log
    return lm


def test_r24_every_batch_size_gives_the_answers_of_batch_one(embedded, docs):
    alone = model_for(embedded, docs, batch_size=1).generate_until(requests_for(docs))
    for size in (3, 16, 64):
        assert (
            model_for(embedded, docs, batch_size=size).generate_until(requests_for(docs)) == alone
        )
    assert len(set(alone)) > 3


def test_r24_padding_is_not_attended_to(embedded, docs):
    """Answers of a few words may stay the same where it is; logits do not."""
    lm = model_for(embedded, docs)
    questions = [lm._question(request) for request in requests_for(docs)]
    shortest, longest = (
        min(questions, key=lambda q: q.tokens),
        max(questions, key=lambda q: q.tokens),
    )

    def last_logits(batch, **changes):
        with torch.inference_mode():
            return embedded.model(**lm._inputs(batch) | changes).logits[0, -1]

    alone, padded = last_logits([shortest]), last_logits([shortest, longest])
    mask = lm._inputs([shortest, longest])["attention_mask"]
    assert (mask[0] == 0).sum() > 10
    attended = last_logits([shortest, longest], attention_mask=torch.ones_like(mask))
    assert torch.allclose(padded, alone, atol=1e-3)
    assert not torch.allclose(attended, alone, atol=1e-1)


def test_answers_come_back_in_the_order_of_the_requests(embedded, docs):
    straight = model_for(embedded, docs).generate_until(requests_for(docs))
    order = np.random.default_rng(0).permutation(len(docs))
    shuffled = model_for(embedded, docs).generate_until([requests_for(docs)[i] for i in order])
    assert shuffled == [straight[i] for i in order]


def test_r3_known_answers_are_not_asked_again_and_empty_ones_are_known(embedded, docs, store):
    log = AnswerLog(store, "key")
    first = model_for(embedded, docs, log=log)
    answers = first.generate_until(requests_for(docs))
    assert first.generated == len(docs)
    again = model_for(embedded, docs, log=log)
    assert again.generate_until(requests_for(docs)) == answers
    assert again.generated == 0
    silent = model_for(embedded, docs, log=AnswerLog(store, "silent"))
    silent._generate = lambda batch, _ahead=None: [""] * len(batch)
    assert set(silent.generate_until(requests_for(docs))) == {""}
    assert not silent.errors
    replay = model_for(embedded, docs, log=AnswerLog(store, "silent"))
    replay._generate = None
    assert set(replay.generate_until(requests_for(docs))) == {""}


def test_r1_after_an_interruption_at_most_one_batch_is_asked_again(embedded, docs, store):
    interrupted = model_for(embedded, docs, batch_size=4, log=AnswerLog(store, "key"))
    real, calls = interrupted._generate, []

    def generate(batch, _ahead=None):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(batch))
        return real(batch)

    interrupted._generate = generate
    with pytest.raises(KeyboardInterrupt):
        interrupted.generate_until(requests_for(docs))
    resumed = model_for(embedded, docs, batch_size=4, log=AnswerLog(store, "key"))
    answers = resumed.generate_until(requests_for(docs))
    assert resumed.generated == len(docs) - sum(calls)
    assert answers == model_for(embedded, docs, batch_size=4).generate_until(requests_for(docs))


def test_r2_another_picture_prompt_or_generation_argument_is_another_question(embedded, docs):
    lm = model_for(embedded, docs)
    base, longer = requests_for(docs)[0], requests_for(docs, max_new_tokens=7)[0]
    other = dict(docs[0], image=Image.new("RGB", (64, 64)))
    keys = {lm._question(base).key, lm._question(longer).key}
    lm.task_dict = {"suite": {"test": [other]}}
    keys.add(lm._question(base).key)
    assert len(keys) == 3


def test_r3_an_exception_is_an_error_with_its_message_and_never_an_answer(embedded, docs, store):
    log = AnswerLog(store, "key")
    lm = model_for(embedded, docs, log=log)
    real = lm._inputs

    def inputs(batch, _ahead=None):
        if any(q.label == "suite 5" for q in batch):
            raise RuntimeError("the picture cannot be decoded")
        return real(batch)

    lm._inputs = inputs
    answers = lm.generate_until(requests_for(docs))
    (key,) = lm.errors
    assert "cannot be decoded" in lm.errors[key]
    assert key not in log.load()
    assert len(log.load()) == len(docs) - 1
    whole = model_for(embedded, docs).generate_until(requests_for(docs))
    assert [a for i, a in enumerate(answers) if i != 5] == [
        a for i, a in enumerate(whole) if i != 5
    ]


def test_r7_a_store_that_cannot_be_written_is_no_error_of_a_question(embedded, docs):
    lm = model_for(embedded, docs)

    def inputs(batch, _ahead=None):
        raise StoreError("no space left for vision features")

    lm._inputs = inputs
    with pytest.raises(StoreError):
        lm.generate_until(requests_for(docs))
    assert not lm.errors


def test_r9_a_nan_activation_stops_the_cell_and_names_its_block(embedded, docs):
    lm = model_for(embedded, docs)
    weight = embedded.blocks[3].mlp.up_proj.weight
    kept = weight.data.clone()
    try:
        weight.data[0, 0] = float("nan")
        with pytest.raises(CellError, match="block 3 gives NaN or infinite activations on suite"):
            lm.generate_until(requests_for(docs))
    finally:
        weight.data = kept


def test_stop_strings_cut_the_answer(embedded, docs):
    lm = model_for(embedded, docs[:1])
    lm.loaded.processor.tokenizer  # noqa: B018  (loaded)
    (whole,) = model_for(embedded, docs[-1:]).generate_until(requests_for(docs[-1:]))
    assert len(whole) > 1
    (cut,) = model_for(embedded, docs[-1:]).generate_until(
        requests_for(docs[-1:], until=[whole[1]])
    )
    assert cut == whole.split(whole[1])[0]


def test_the_model_outlives_lmms_evals_cleaning(embedded, docs):
    lm = model_for(embedded, docs)
    lm.clean()
    assert lm.loaded.model is embedded.model
    assert isinstance(lm.device, torch.device)


def test_likelihood_requests_are_refused_with_the_way_to_go(embedded):
    with pytest.raises(QuantizationError, match="lm-eval"):
        LuqModel(loaded=embedded).loglikelihood([])


def test_prepared_features_give_the_answers_of_pixels(embedded, docs, monkeypatch):
    prepared = model_for(embedded, docs).generate_until(requests_for(docs))
    monkeypatch.setattr("harness.evaluation.inputs._separable", lambda _loaded: False)
    assert model_for(embedded, docs).generate_until(requests_for(docs)) == prepared


def test_pictures_are_decoded_and_looked_at_once_for_all_variants_of_a_model(
    embedded, docs, monkeypatch
):
    from harness.models.prepared import PreparedInputs

    fresh = dataclasses.replace(embedded, prepared=PreparedInputs())
    looked, decoded = [], []
    real = embedded.model.get_image_features
    monkeypatch.setattr(
        embedded.model,
        "get_image_features",
        lambda **k: looked.append(len(k["pixel_values"])) or real(**k),
    )
    requests = requests_for(docs)
    for request in requests:
        context, arguments, visual, number, task, split = request.args
        request.arguments = (
            context,
            arguments,
            lambda doc, visual=visual: decoded.append(1) or visual(doc),
            number,
            task,
            split,
        )
    answers = []
    for _ in range(3):
        lm = model_for(fresh, docs)
        lm.data = "digest"
        answers.append(lm.generate_until(requests))
    pictures = len({row["image"].tobytes() for row in docs})
    assert sum(looked) == pictures < len(docs)
    assert len(decoded) == 2 * len(docs)  # once for its digest, once for the vision tower
    assert answers[0] == answers[1] == answers[2]


def test_a_full_memory_of_features_costs_time_and_no_answer(embedded, docs, monkeypatch):
    from harness.models.prepared import PreparedInputs
    from harness.models.vision_cache import VisionCache

    prepared = PreparedInputs(features=VisionCache(memory_limit=100_000))
    small = dataclasses.replace(embedded, prepared=prepared)
    lm = model_for(small, docs)
    answers = [
        model_for(small, docs).generate_until(requests_for(docs)),
        lm.generate_until(requests_for(docs)),
    ]
    assert 0 < small.prepared.features.memory_bytes <= 100_000
    assert answers == [model_for(embedded, docs).generate_until(requests_for(docs))] * 2


def out_of_memory_above(lm, size):
    """The model as if more than `size` questions did not fit."""
    real, sizes = lm._generate, []

    def generate(batch, ahead=None):
        sizes.append(len(batch))
        if len(batch) > size:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(batch, ahead)

    lm._generate = generate
    return sizes


def test_a_batch_that_does_not_fit_is_halved_for_good_and_the_size_is_reported(embedded, docs):
    lm = model_for(embedded, docs, batch_size=16)
    sizes = out_of_memory_above(lm, 5)
    assert lm.generate_until(requests_for(docs)) == model_for(
        embedded, docs, batch_size=4
    ).generate_until(requests_for(docs))
    assert lm.smallest_batch == 4
    assert sizes[:3] == [16, 8, 4]
    assert set(sizes[3:]) <= {1, 2, 3, 4}
    assert not lm.errors


def fail_plainly():
    raise RuntimeError("another")


def run_out_of_memory():
    error = torch.OutOfMemoryError("CUDA out of memory")
    raise error  # held by its own frame: a circle


@pytest.mark.parametrize("fail", [fail_plainly, run_out_of_memory])
def test_r42_the_tensors_of_a_failed_batch_are_gone_when_its_questions_are_asked_again(
    embedded, docs, monkeypatch, fail
):
    lm, failed, alive = model_for(embedded, docs, batch_size=8), [], []
    real, generate = lm._inputs, embedded.model.generate

    def inputs(batch, ahead=None):
        alive.append(sum(reference() is not None for reference in failed))
        made = real(batch, ahead)
        if len(batch) > 4:
            made |= {name: tensor.clone() for name, tensor in made.items() if name == "input_ids"}
            failed.append(weakref.ref(made["input_ids"]))
        return made

    def refuse(**given):
        return generate(**given) if len(given["input_ids"]) <= 4 else fail()

    monkeypatch.setattr(lm, "_inputs", inputs)
    monkeypatch.setattr(embedded.model, "generate", refuse)
    gc.disable()
    try:
        lm.generate_until(requests_for(docs[:8]))
    finally:
        gc.enable()
    assert len(failed) == 1
    assert len(alive) > 2
    assert not any(alive)


def test_a_question_that_does_not_fit_alone_is_an_error(embedded, docs):
    lm = model_for(embedded, docs[:2], batch_size=2)
    out_of_memory_above(lm, 0)
    assert lm.generate_until(requests_for(docs[:2])) == ["", ""]
    assert all("out of memory" in message for message in lm.errors.values())


def test_features_beyond_memory_come_from_the_disk_and_are_looked_at_once(
    embedded, docs, store, monkeypatch
):
    from harness.models.prepared import PreparedInputs
    from harness.models.vision_cache import VisionCache

    prepared = PreparedInputs(features=VisionCache(memory_limit=100_000))
    small = dataclasses.replace(embedded, prepared=prepared)
    small.prepared.features.attach(store, embedded.digest, 2**30)
    looked = []
    real = embedded.model.get_image_features
    monkeypatch.setattr(
        embedded.model,
        "get_image_features",
        lambda **k: looked.append(len(k["pixel_values"])) or real(**k),
    )
    answers = [model_for(small, docs).generate_until(requests_for(docs)) for _ in range(2)]
    assert sum(looked) == len({row["image"].tobytes() for row in docs})
    assert small.prepared.features.disk_bytes > 0
    monkeypatch.undo()
    assert answers == [model_for(embedded, docs).generate_until(requests_for(docs))] * 2
