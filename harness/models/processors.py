"""Processors with transformers' PIL backend: the same numbers with and without torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoProcessor, AutoTokenizer, Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from harness.errors import ConfigError
from harness.paths import EMBEDDED


class QwenProcessor(Qwen2_5_VLProcessor):
    """transformers' processor for Qwen2.5-VL without its video part, which needs torchvision."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **options: Any,
    ):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **options)  # type: ignore[no-untyped-call]


class TextProcessor:
    """A tokenizer with the interface of a processor, for language models.

    Args:
        tokenizer: Of transformers.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def __call__(self, text: list[str], images: Any = None, **options: Any) -> Any:
        """Tokenize texts; options: of the tokenizer.

        Raises:
            ConfigError: There are pictures.
        """
        if images:
            raise ConfigError(
                "this is a language model: it takes no pictures; choose a suite of texts, such as"
                " suite=wikitext2"
            )
        return self.tokenizer(text, **options)

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        """The text of a chat; messages: as processors take them, with parts of type `text`."""
        plain = self.plain(messages)
        return str(self.tokenizer.apply_chat_template(plain, tokenize=False, **options))

    def plain(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Messages as tokenizers take them: texts in place of lists of parts."""
        return [
            {
                **m,
                "content": "".join(part["text"] for part in m["content"] if part["type"] == "text"),
            }
            for m in messages
        ]

    def save_pretrained(self, folder: Path) -> None:
        """Write the tokenizer into a model folder."""
        self.tokenizer.save_pretrained(folder)


def load_processor(
    folder: Path, model_type: str, *, pictures: bool, gguf: str | None = None
) -> Any:
    """The processor of a model folder.

    Args:
        folder: With the files of the processor or tokenizer.
        model_type: As config.json has it.
        pictures: Whether the model takes pictures.
        gguf: Name of the GGUF file that holds the tokenizer, if it is in one.

    Raises:
        OSError: Files are missing.
        ValueError: Files do not fit.
    """
    files = {} if gguf is None else {"gguf_file": gguf}
    if not pictures:
        return TextProcessor(
            AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **files)
        )
    processor_class = QwenProcessor if model_type == "qwen2_5_vl" else AutoProcessor
    return processor_class.from_pretrained(folder, trust_remote_code=False, backend="pil")


def chat_template(processor: Any) -> str | None:
    """The template by which a model is asked; None where it has none.

    Args:
        processor: Of transformers, or a `TextProcessor`.
    """
    owner = processor.tokenizer if isinstance(processor, TextProcessor) else processor
    template = owner.chat_template
    return template.get("default") if isinstance(template, dict) else template


def write_processor(folder: Path, model_type: str) -> None:
    """Write a processor for a model with random weights.

    It has the embedded model's tokenizer and the family's own picture processing.

    Args:
        folder: Of the model.
        model_type: As config.json has it.
    """
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    if model_type == "qwen2_5_vl":
        QwenProcessor(
            Qwen2VLImageProcessorPil(), tokenizer, chat_template=tokenizer.chat_template
        ).save_pretrained(folder)
    else:
        AutoProcessor.from_pretrained(EMBEDDED, backend="pil").save_pretrained(folder)
