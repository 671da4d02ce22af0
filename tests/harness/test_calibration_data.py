import pytest
import torch

from harness.calibration_data import calibration_digest, collect
from harness.schema import CalibrationConfig
from tasks.mini.language import HELD_OUT_WORDS


def data(embedded, **options):
    return collect(embedded, CalibrationConfig(**{"tokens": 2000, **options}))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_alpha_is_the_share_of_tokens_from_image_text_samples(embedded, alpha):
    found = data(embedded, alpha=alpha)
    assert found.tokens == pytest.approx(2000, abs=60)  # the last image-text sample is kept whole
    assert found.image_text_tokens / found.tokens == pytest.approx(alpha, abs=0.03)
    assert (found.image_token_share > 0) == (alpha > 0)


def test_the_image_token_share_is_counted_and_not_assumed(embedded):
    found = data(embedded, alpha=1.0)
    token = embedded.model.config.image_token_id
    tokens = torch.cat([s["input_ids"][0] for s in found.sequences])
    assert found.image_token_share == pytest.approx(float((tokens == token).float().mean()))


def test_a_seed_fixes_the_sequences_and_every_setting_changes_the_digest(embedded):
    first, second = data(embedded), data(embedded)
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(first.sequences, second.sequences, strict=True))
    changes = ({}, {"alpha": 0.0}, {"tokens": 9}, {"sequence": 8}, {"seed": 1})
    assert len({calibration_digest(embedded, CalibrationConfig(**change)) for change in changes}) == 5


def test_no_padding_and_no_answers_reach_the_statistics(embedded):
    tokenizer = embedded.processor.tokenizer
    for sequence in data(embedded).sequences:
        assert sequence["input_ids"].shape[0] == 1
        assert tokenizer.pad_token_id not in sequence["input_ids"]
        assert tokenizer.eos_token_id not in sequence["input_ids"]


def test_held_out_words_are_not_in_the_calibration_data(embedded):
    texts = [embedded.processor.tokenizer.decode(s["input_ids"][0]) for s in data(embedded, tokens=6000).sequences]
    assert not set(HELD_OUT_WORDS) & {word.strip("?.,") for text in texts for word in text.split()}
