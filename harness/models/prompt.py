"""Prompts: a question in the chat form of a model."""

from __future__ import annotations

from typing import Any

from harness.errors import ConfigError
from harness.models.processors import TextProcessor, chat_template
from harness.models.templates import own_template, render_chat


def prompt_text(processor: Any, question: str, images: int) -> str:
    """A question as the only message of a chat, up to where the model's answer begins.

    Args:
        processor: Of the model; a processor of transformers or a
            `harness.models.processors.TextProcessor`.
        question: What is asked.
        images: How many pictures go with it; their places come before the question.

    Raises:
        ConfigError: The model has no chat template, or one that cannot be used.
    """
    content: list[dict[str, Any]] = [{"type": "image"}] * images + [
        {"type": "text", "text": question}
    ]
    messages = [{"role": "user", "content": content}]
    template = chat_template(processor)
    if template is None:
        raise ConfigError(
            "the model has no chat template, by which it is asked questions: put one into its"
            " folder as chat_template.jinja, or choose a suite of texts, such as suite=wikitext2"
        )
    if template == own_template():
        return str(processor.apply_chat_template(messages, add_generation_prompt=True))
    if isinstance(processor, TextProcessor):
        messages = processor.plain(messages)
    return render_chat(template, messages, processor.tokenizer.special_tokens_map)
