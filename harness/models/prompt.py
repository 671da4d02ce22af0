"""Prompts: a question in the chat form of a model."""

from __future__ import annotations

from typing import Any


def prompt_text(processor: Any, question: str, images: int) -> str:
    """A question as the only message of a chat, up to where the model's answer begins.

    Args:
        processor: Of the model; a processor of transformers or a
            `harness.models.processors.TextProcessor`.
        question: What is asked.
        images: How many pictures go with it; their places come before the question.
    """
    content: list[dict[str, Any]] = [{"type": "image"}] * images + [
        {"type": "text", "text": question}
    ]
    messages = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(messages, add_generation_prompt=True))
