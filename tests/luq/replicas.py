"""Small randomly initialised models of real transformers classes, and inputs for them."""

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY, IMAGE = 64, 63
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def tiny_llama(blocks: int = 2, seed: int = 0, key_value_heads: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{**TEXT, "num_key_value_heads": key_value_heads}, num_hidden_layers=blocks
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def tiny_qwen2(blocks: int = 2) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**TEXT, num_hidden_layers=blocks)).eval()


def tiny_llava(blocks: int = 2) -> LlavaForConditionalGeneration:
    """LLaVA with 4 image tokens for a picture of 28 x 28."""
    torch.manual_seed(0)
    vision = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = LlavaConfig(
        text_config={"model_type": "llama", **TEXT, "num_hidden_layers": blocks},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "projection_dim": 32,
            **vision,
        },
        vision_feature_layer=-1,
        image_token_id=IMAGE,
        image_seq_length=4,
    )
    return LlavaForConditionalGeneration(config).eval()


def tiny_qwen_vl(blocks: int = 2) -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL with 4 image tokens for a picture of 4 x 4 patches."""
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "num_hidden_layers": blocks, "rope_parameters": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": TEXT["hidden_size"],
            "fullatt_block_indexes": [0],
            "window_size": 112,
        },
        vision_start_token_id=60,
        vision_end_token_id=61,
        image_token_id=IMAGE,
        video_token_id=62,
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def token_sequences(count: int, length: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        {"input_ids": torch.randint(0, 60, (1, length), generator=generator)} for _ in range(count)
    ]


def llava_sequences(count: int, length: int) -> list[dict[str, torch.Tensor]]:
    """A picture, then text."""
    generator = torch.Generator().manual_seed(6)
    picture = torch.full((1, 4), IMAGE)
    return [
        {
            "input_ids": torch.cat([picture, sequence["input_ids"]], dim=1),
            "pixel_values": torch.randn(1, 3, 28, 28, generator=generator),
        }
        for sequence in token_sequences(count, length)
    ]


def qwen_vl_sequences(count: int, length: int) -> list[dict[str, torch.Tensor]]:
    """A picture, then text."""
    generator = torch.Generator().manual_seed(6)
    picture = torch.tensor([[60, *[IMAGE] * 4, 61]])
    return [
        {
            "input_ids": torch.cat([picture, sequence["input_ids"]], dim=1),
            "pixel_values": torch.randn(16, 3 * 2 * 14 * 14, generator=generator),
            "image_grid_thw": torch.tensor([[1, 4, 4]]),
        }
        for sequence in token_sequences(count, length)
    ]


FAMILIES = {
    "llama": (tiny_llama, token_sequences),
    "qwen2": (tiny_qwen2, token_sequences),
    "llava": (tiny_llava, llava_sequences),
    "qwen2_5_vl": (tiny_qwen_vl, qwen_vl_sequences),
}
