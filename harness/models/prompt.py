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
        question: What is asked; special tokens in it are text.
        images: How many pictures go with it; their places come before the question.

    Raises:
        ConfigError: The model has no chat template, or one that cannot be used.
    """
    content: list[dict[str, Any]] = [{"type": "image"}] * images + [
        {"type": "text", "text": without_special_tokens(processor, question)}
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


def without_special_tokens(processor: Any, text: str) -> str:
    """A text in which no special token is left: `<image>` becomes `< image>`.

    Otherwise a question that writes of such a token would take the place of a picture.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    special = {*tokenizer.all_special_tokens}
    special |= {getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")}
    for token in sorted((one for one in special if one and len(one) > 1), key=len, reverse=True):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
