"""A prompt is a question in the model's chat form, with a place for each picture."""

from harness.models.processors import TextProcessor
from harness.models.prompt import prompt_text
from tests.replicas import qwen_tokenizer


def test_a_prompt_holds_the_question_and_a_place_for_each_picture(embedded):
    token = embedded.processor.image_token
    none, two = (prompt_text(embedded.processor, "what color?", count) for count in (0, 2))
    assert (none.count(token), two.count(token)) == (0, 2)
    assert two.index(token) < two.index("what color?")
    assert two.endswith("ASSISTANT:")


def test_a_language_model_gets_the_question_in_its_chat_form():
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}|"
    assert prompt_text(TextProcessor(tokenizer), "what?", 0) == "<what?>|"


def test_special_tokens_in_a_question_are_text(embedded):
    processor = embedded.processor
    token = processor.image_token
    question = f"what does {token} or {processor.tokenizer.eos_token} mean?"
    prompt = prompt_text(processor, question, 1)
    assert prompt.count(token) == prompt_text(processor, "what?", 1).count(token)
    assert prompt.count(processor.tokenizer.eos_token) == 0
    assert f"{token[0]} {token[1:]}" in prompt


def test_special_tokens_of_a_language_model_are_text_too():
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    special = tokenizer.all_special_tokens
    prompt = prompt_text(TextProcessor(tokenizer), f"a {' '.join(special)} b", 0)
    assert special
    assert not [token for token in special if len(token) > 1 and token in prompt]
