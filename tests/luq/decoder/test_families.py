import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from luq.decoder.families import FAMILIES, block_linears, decoder_blocks, find_family
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama


def test_a_known_model_is_recognised_with_its_blocks_and_linears():
    model = tiny_llama(blocks=3)
    family = find_family(model)
    assert family is FAMILIES["llama"]
    assert len(decoder_blocks(model, family)) == 3
    assert len(block_linears(model.model.layers[0], family)) == 7


def test_the_embedded_model_is_a_llava(embedded):
    assert embedded.family.name == "llava"
    assert len(embedded.blocks) >= 8


def test_r14_an_unknown_architecture_is_refused_with_a_list_of_its_modules():
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
    with pytest.raises(QuantizationError, match=r"unknown architecture 'gpt2'.*GPT2MLP|ModuleList"):
        find_family(model)


def test_r14_a_missing_or_unexpected_linear_is_refused_by_name():
    model = tiny_llama()
    model.model.layers[1].mlp.extra = torch.nn.Linear(4, 4)
    with pytest.raises(QuantizationError, match=r"block 1 .*unexpected \['mlp.extra'\]"):
        find_family(model)
    model = tiny_llama()
    del model.model.layers[0].self_attn.o_proj
    with pytest.raises(QuantizationError, match=r"block 0 .*missing \['self_attn.o_proj'\]"):
        find_family(model)
