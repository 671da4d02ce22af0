"""Small randomly initialised models of the real transformers classes, as folders that the harness
loads.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from harness.models.processors import QwenProcessor
from tests.paths import SHARED

TOKENIZERS = SHARED / "data" / "tokenizers"
QWEN_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_PART = (
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in"
    " message['content'] %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    + _PART
    + "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{"
    " part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if"
    " add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    + _PART
    + "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor"
    " %}{% endif %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def byte_tokenizer(special: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A byte-level BPE as Qwen's, with a vocabulary of a few hundred, so that tests need no
    downloaded one.
    """
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    plain.train_from_iterator(["what is in the picture yes no the answer is"] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token=special[2], pad_token=special[0]
    )


def qwen_tokenizer(*, real: bool = False):
    return (
        AutoTokenizer.from_pretrained(TOKENIZERS / "qwen") if real else byte_tokenizer(QWEN_TOKENS)
    )


def qwen_vl(
    folder: Path, *, real_tokenizer: bool = False, dtype: torch.dtype = torch.float32, **text
) -> Path:
    """Qwen2.5-VL: windowed vision tower, three-part rotary positions, pictures of any size."""
    tokenizer = qwen_tokenizer(real=real_tokenizer)
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("vision_start", "vision_end", "image_pad", "video_pad")
    }
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope, **text},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": {**TEXT, **text}["hidden_size"],
            "fullatt_block_indexes": [1],
            "window_size": 112,
        },
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
    )
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64})
    QwenProcessor(images, tokenizer, chat_template=QWEN_TEMPLATE).save_pretrained(folder)
    return _saved(Qwen2_5_VLForConditionalGeneration, config, folder, dtype)


def llava(
    folder: Path, *, real_tokenizer: bool = False, dtype: torch.dtype = torch.float32, **text
) -> Path:
    """LLaVA-1.5:

    CLIP, second to last layer without its class token, a projector of two linears, Llama.
    """
    tokenizer = (
        AutoTokenizer.from_pretrained(TOKENIZERS / "llama2")
        if real_tokenizer
        else byte_tokenizer(("<unk>", "<s>", "</s>"))
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"], "pad_token": "<pad>"})
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    config = LlavaConfig(
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(tokenizer), **text},
        vision_config={
            "model_type": "clip_vision_model",
            "projection_dim": 32,
            "patch_size": 14,
            **vision,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
    )
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=LLAVA_TEMPLATE,
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(folder)
    return _saved(LlavaForConditionalGeneration, config, folder, dtype)


def qwen2_text(folder: Path, **text) -> Path:
    tokenizer = qwen_tokenizer()
    tokenizer.save_pretrained(folder)
    return _saved(
        Qwen2ForCausalLM,
        Qwen2Config(**{**TEXT, "vocab_size": len(tokenizer), **text}),
        folder,
        torch.float32,
    )


def _saved(kind, config, folder: Path, dtype: torch.dtype) -> Path:
    torch.manual_seed(0)
    kind(config).to(dtype).save_pretrained(
        folder, max_shard_size="200KB"
    )  # several files and an index, as large models have
    return folder
