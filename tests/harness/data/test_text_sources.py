"""A text source gives the same sequences for the same seed, and is known by its content."""

import pytest
import torch

from harness.data import text_sources
from harness.data.text_sources import FixedText, text_source
from harness.errors import ConfigError
from tests.replicas import qwen_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return qwen_tokenizer()


def lists(sequences):
    return [sequence[0].tolist() for sequence in sequences]


def test_a_text_is_cut_into_sequences_that_the_seed_shuffles(tokenizer):
    source = FixedText("what is in the picture? " * 50, "digest")
    ids = tokenizer(source.text)["input_ids"]
    cut = [ids[start : start + 16] for start in range(0, len(ids) - 15, 16)]
    first, again, other = (lists(source.sequences(tokenizer, 16, seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) == sorted(other) == sorted(cut)


def words_with_a_beginning(text, *, add_special_tokens=True):
    """A tokenizer that puts 0 in front of a text, as Llama's does."""
    return {"input_ids": [0] * add_special_tokens + list(range(1, len(text.split()) + 1))}


def test_what_begins_a_text_begins_every_sequence():
    sequences = lists(FixedText("word " * 23, "digest").sequences(words_with_a_beginning, 6, 0))
    assert sorted(sequences) == [[0, *range(start, start + 5)] for start in (1, 6, 11, 16)]


def test_r15_sequences_without_room_for_text_are_refused():
    with pytest.raises(ConfigError, match=r"calibration\.sequence is 1, .* puts 1 tokens in front"):
        next(FixedText("some words", "t").sequences(words_with_a_beginning, 1, 0))


def test_the_embedded_worlds_sentences_never_end_and_no_sequence_is_longer(embedded):
    stream = text_source("mini").sequences(embedded.processor.tokenizer, 32, 0)
    assert max(next(stream).shape[1] for _ in range(50)) <= 32


def test_sentences_begin_as_a_text_of_the_tokenizer_does(embedded, tokenizer):
    """Once with the token for the beginning, and without where there is none."""
    first = next(text_source("mini").sequences(tokenizer, 16, 0))[0].tolist()
    assert tokenizer.bos_token is None
    assert "None" not in tokenizer.decode(first)
    own = embedded.processor.tokenizer
    ids = next(text_source("mini").sequences(own, 16, 0))[0].tolist()
    assert ids.count(own.bos_token_id) == 1
    assert ids[0] == own.bos_token_id

    class AddsIt:
        bos_token, bos_token_id = own.bos_token, own.bos_token_id

        def __call__(self, text, **options):
            return own(f"{own.bos_token}{text}", **options)

    assert next(text_source("mini").sequences(AddsIt(), 16, 0))[0].tolist() == ids


def test_a_file_is_known_by_its_content(tmp_path):
    for name, text in (("a", "one"), ("b", "two"), ("c", "one")):
        (tmp_path / name).write_text(text)
    a, b, c = (text_source(str(tmp_path / name)) for name in "abc")
    assert a.identity == c.identity != b.identity
    assert (a.text, b.text) == ("one", "two")


class Counting:
    """A source that somebody adds."""

    identity = "counting-1"
    text = ""

    def sequences(self, tokenizer, length, seed):
        yield torch.arange(length)[None]


def test_a_source_is_added_by_its_name(monkeypatch):
    monkeypatch.setitem(text_sources.SOURCES, "counting", Counting)
    assert lists(text_source("counting").sequences(None, 3, 0)) == [[0, 1, 2]]
    with pytest.raises(ConfigError, match="neither `mini`, `wikitext2`, `counting` nor a text"):
        text_source("other")
