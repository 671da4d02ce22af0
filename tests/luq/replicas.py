"""Small randomly initialised models of real transformers classes."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_llama(blocks: int = 2, seed: int = 0, key_value_heads: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def token_sequences(count: int, length: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        {"input_ids": torch.randint(0, 64, (1, length), generator=generator)} for _ in range(count)
    ]
