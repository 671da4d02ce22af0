"""Processors with transformers' PIL back end, so that pictures become the same numbers with and
without torchvision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoProcessor, AutoTokenizer, Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from harness.errors import ConfigError
from harness.paths import EMBEDDED


class QwenProcessor(Qwen2_5_VLProcessor):
    """transformers' processor for Qwen2.5-VL without videos, whose part of it cannot be made
    without torchvision.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **rest: Any,
    ):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **rest)  # type: ignore[no-untyped-call]


class TextProcessor:
    """A tokenizer in the place of a processor: prompts, and no pictures."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def __call__(self, text: list[str], images: Any = None, **options: Any) -> Any:
        if images:
            raise ConfigError(
                "this is a language model: it takes no pictures; choose a suite of texts, such as"
                " suite=wikitext2"
            )
        return self.tokenizer(text, **options)

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        plain = [
            {
                **m,
                "content": "".join(part["text"] for part in m["content"] if part["type"] == "text"),
            }
            for m in messages
        ]
        return str(self.tokenizer.apply_chat_template(plain, tokenize=False, **options))

    def save_pretrained(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


def load_processor(where: Path, model_type: str, *, pictures: bool, gguf: str | None = None) -> Any:
    """The processor of a model folder.

    Raises OSError or ValueError, as transformers does, for files that are missing or do not fit.
    """
    files = {} if gguf is None else {"gguf_file": gguf}
    if not pictures:
        return TextProcessor(AutoTokenizer.from_pretrained(where, trust_remote_code=False, **files))
    known = QwenProcessor if model_type == "qwen2_5_vl" else AutoProcessor
    return known.from_pretrained(where, trust_remote_code=False, backend="pil")


def write_processor(folder: Path, model_type: str) -> None:
    """A processor for models with random weights: the embedded model's tokenizer beside the picture
    part of the family.
    """
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    if model_type == "qwen2_5_vl":
        QwenProcessor(
            Qwen2VLImageProcessorPil(), tokenizer, chat_template=tokenizer.chat_template
        ).save_pretrained(folder)
    else:
        AutoProcessor.from_pretrained(EMBEDDED, backend="pil").save_pretrained(folder)
