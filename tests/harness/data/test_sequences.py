"""Sequences are what their configuration says, and so is their digest."""

import itertools

import datasets
import pytest
import torch

from harness.config.schema import CalibrationConfig
from harness.data.image_text_sources import image_text_source
from harness.data.sequences import calibration_digest, collect, part_digest, parts
from harness.errors import ConfigError
from tasks.mini import calibration as mini
from tasks.mini.world.language import HELD_OUT_WORDS


def data(embedded, **options):
    return collect(embedded, CalibrationConfig(**{"tokens": 2000, "sequence": 64, **options}))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_alpha_is_the_share_of_tokens_from_image_text_samples(embedded, alpha):
    found = data(embedded, alpha=alpha)
    assert 2000 <= found.tokens < 2000 + 70  # the last image-text sample is kept whole
    assert found.image_text_tokens / found.tokens == pytest.approx(alpha, abs=0.03)
    assert (found.image_token_share > 0) == (alpha > 0)


def test_the_image_token_share_is_counted_and_not_assumed(embedded):
    found = data(embedded, alpha=1.0)
    token = embedded.model.config.image_token_id
    tokens = torch.cat([s["input_ids"][0] for s in found.sequences])
    assert found.image_token_share == pytest.approx(float((tokens == token).float().mean()))


def test_a_seed_fixes_the_sequences_and_every_setting_changes_the_digest(embedded, tmp_path):
    first, second = data(embedded), data(embedded)
    assert all(
        torch.equal(a["input_ids"], b["input_ids"])
        for a, b in zip(first.sequences, second.sequences, strict=True)
    )
    text = tmp_path / "text.txt"
    text.write_text("one sentence. " * 99)
    changes = ({}, {"alpha": 0.0}, {"tokens": 9}, {"sequence": 8}, {"seed": 1}, {"text": str(text)})
    assert (
        len({calibration_digest(embedded, CalibrationConfig(**change)) for change in changes}) == 6
    )
    before = calibration_digest(embedded, CalibrationConfig(text=str(text)))
    text.write_text("another sentence. " * 99)
    assert calibration_digest(embedded, CalibrationConfig(text=str(text))) != before


def test_no_padding_and_no_answers_reach_the_statistics(embedded):
    tokenizer = embedded.processor.tokenizer
    for sequence in data(embedded).sequences:
        assert sequence["input_ids"].shape[0] == 1
        assert tokenizer.pad_token_id not in sequence["input_ids"]
        assert tokenizer.eos_token_id not in sequence["input_ids"]


def test_held_out_words_are_not_in_the_calibration_data(embedded):
    texts = [
        embedded.processor.tokenizer.decode(s["input_ids"][0])
        for s in data(embedded, tokens=6000).sequences
    ]
    assert not set(HELD_OUT_WORDS) & {word.strip("?.,") for text in texts for word in text.split()}


def test_all_alphas_in_quarters_are_made_of_the_same_eight_parts(embedded):
    config = {"tokens": 1024, "sequence": 64}
    whole = {a: CalibrationConfig(alpha=a, **config) for a in (0.0, 0.25, 0.5, 0.75, 1.0)}
    assert all(len(parts(c)) == 4 for c in whole.values())
    keys = {part_digest(embedded, c, part) for c in whole.values() for part in parts(c)}
    assert len(keys) == 8
    mixed = collect(embedded, whole[0.5])
    for source, alpha in (("text", 0.0), ("image_text", 1.0)):
        alone = collect(embedded, whole[alpha])
        for part in [p for p in mixed.parts if p.source == source]:
            assert [s["input_ids"].tolist() for s in mixed.parts[part]] == [
                s["input_ids"].tolist() for s in alone.parts[part]
            ]
    assert [p.end for p in parts(CalibrationConfig(alpha=0.3, **config))] == [307, 717]


def test_a_text_file_and_a_saved_data_set_can_be_the_sources(embedded, tmp_path):
    text, folder = sources(tmp_path, rows=40)
    found = collect(
        embedded, CalibrationConfig(tokens=400, sequence=20, text=text, image_text=folder)
    )
    assert found.tokens >= 400
    texts = [
        s for part, sequences in found.parts.items() if part.source == "text" for s in sequences
    ]
    assert {s["input_ids"].shape[1] for s in texts} == {20}
    assert all(
        "pixel_values" in s
        for part, sequences in found.parts.items()
        if part.source == "image_text"
        for s in sequences
    )
    held_out = {question for _, question, _ in image_text_source(folder).answered(0)}
    assert not held_out & {question for _, question in image_text_source(folder).prompts(0)}


def test_r15_fewer_sequences_than_asked_for_are_an_error_that_says_how_many_there_are(
    embedded, tmp_path
):
    text, folder = sources(tmp_path, rows=4)
    with pytest.raises(
        ConfigError,
        match=(
            r"calibration\.image_text=.* ends after \d+ tokens of 2000; ask for fewer with"
            r" calibration\.tokens"
        ),
    ):
        data(embedded, alpha=1.0, image_text=folder)
    with pytest.raises(ConfigError, match=r"calibration\.text=.* ends after \d+ tokens of 20000"):
        data(embedded, alpha=0.0, text=text, tokens=20000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_text": None}, "there is no source"),
        ({"image_text": "/nowhere"}, "neither `mini`, `textvqa` nor the folder"),
        ({"text": "/nowhere.txt"}, "neither `mini`, `wikitext2` nor a text file"),
    ],
)
def test_a_source_that_is_not_there_is_named(embedded, options, said):
    with pytest.raises(ConfigError, match=said):
        data(embedded, **options)


def sources(tmp_path, rows):
    """(path of a text file, folder of an image-text data set)."""
    text = tmp_path / "text.txt"
    text.write_text(" ".join(itertools.islice(mini.texts(0, 4), 100)))
    drawn = [
        {"image": i, "question": f"{q} {n}", "answer": a}
        for n, (i, q, a) in enumerate(itertools.islice(mini.answered_prompts(5), rows))
    ]
    datasets.Dataset.from_list(drawn).save_to_disk(tmp_path / "rows")
    return str(text), str(tmp_path / "rows")


def test_r31_a_tokenizer_of_another_model_is_told_before_any_work(embedded, monkeypatch):
    few = torch.nn.Embedding(20, 4)
    monkeypatch.setattr(embedded.model, "get_input_embeddings", lambda: few)
    with pytest.raises(ConfigError, match=r"mini: its tokenizer gives token \d+, and .* have 20"):
        data(embedded)
