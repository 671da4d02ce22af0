"""The deep embedded model's architecture: Qwen2.5-VL's classes, with many blocks for its size."""

from __future__ import annotations

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from harness.models.processors import QwenProcessor
from tasks.mini.world.facts import SYLLABLES
from tasks.mini.world.language import WHOLE_WORDS, build_tokenizer
from tasks.mini.world.pictures import CELL_PIXELS

# Roles and names as Qwen2.5-VL's tokenizer has them; it has no token for the begin of a text.
SPECIAL_TOKENS = {
    "pad": "<|endoftext|>",
    "unk": "<unk>",
    "eos": "<|im_end|>",
    "start": "<|im_start|>",
    "image": "<|image_pad|>",
    "video": "<|video_pad|>",
    "vision_bos": "<|vision_start|>",
    "vision_eos": "<|vision_end|>",
}
FACT_WORDS = (
    "Does Where Who does emblem friend keep keeps like likes live lives make makes of old person"
    " years"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in"
    " message['content'] %}{% if part['type'] == 'image'"
    " %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% if part['type'] == 'text' %}{{"
    " part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt"
    " %}<|im_start|>assistant\n{% endif %}"
)
# Two by two patches become a token of the decoder: one for each cell of a picture.
MERGE = 2
PATCH_PIXELS = CELL_PIXELS // MERGE
MOST_CELLS = 196


def build_deep_tokenizer() -> PreTrainedTokenizerFast:
    """The embedded model's words, the syllables of people's names, and Qwen's special tokens."""
    words = [*WHOLE_WORDS, *FACT_WORDS.split(), "user", "assistant"]
    return build_tokenizer(SPECIAL_TOKENS, SYLLABLES, list(dict.fromkeys(words)))


def build_deep_config(tokenizer: PreTrainedTokenizerFast, blocks: int = 20) -> Qwen2_5_VLConfig:
    """20 decoder blocks of width 256 with grouped queries, on a tower of four windowed blocks.

    Args:
        tokenizer: For the vocabulary.
        blocks: Of the decoder.
    """
    vocabulary = tokenizer.get_vocab()
    ids = {role: vocabulary[token] for role, token in SPECIAL_TOKENS.items()}
    width, heads = 256, 4
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": blocks,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [8, 12, 12],  # of the half of a head: time, height, width
            },
            "pad_token_id": ids["pad"],
            "eos_token_id": ids["eos"],
            "bos_token_id": ids["pad"],
        },
        vision_config={
            "depth": 4,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_heads": 3,
            "patch_size": PATCH_PIXELS,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": 4 * CELL_PIXELS,
            "fullatt_block_indexes": [3],
            "out_hidden_size": width,
        },
        image_token_id=ids["image"],
        video_token_id=ids["video"],
        vision_start_token_id=ids["vision_bos"],
        vision_end_token_id=ids["vision_eos"],
        tie_word_embeddings=False,
    )


def build_deep_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """The model with random weights."""
    return Qwen2_5_VLForConditionalGeneration(build_deep_config(tokenizer))


def build_deep_processor(tokenizer: PreTrainedTokenizerFast) -> QwenProcessor:
    """Pictures of 16 to 196 cells as they are; larger and smaller ones are scaled."""
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 16 * CELL_PIXELS**2, "longest_edge": MOST_CELLS * CELL_PIXELS**2},
        patch_size=PATCH_PIXELS,
        merge_size=MERGE,
        temporal_patch_size=2,
    )
    return QwenProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)
