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
