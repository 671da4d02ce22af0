"""A model's chat template gives what transformers makes of it, in bounded time and memory."""

import pytest

from harness.errors import ConfigError
from harness.models import templates
from harness.models.load import load_model
from harness.models.processors import TextProcessor
from harness.models.prompt import prompt_text
from tests import replicas

LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def processor():
    tokenizer = replicas.qwen_tokenizer()
    tokenizer.chat_template = replicas.QWEN_TEMPLATE
    return TextProcessor(tokenizer)


@pytest.mark.parametrize(
    "template",
    [
        replicas.QWEN_TEMPLATE,
        "{{ eos_token }}{{ pad_token }}{{ bos_token }}{{ messages | tojson }}",
        "{%- for m in messages %}\n  {{- m.role }}:\n  {%- if loop.last %}{% break %}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}ä\n{% endif %}",
        {"default": "{{ messages[0].content }}", "tool_use": "tools"},
    ],
)
def test_a_prompt_is_what_transformers_makes_of_the_template(processor, template):
    processor.tokenizer.chat_template = template
    question = 'what "is"\nthat? <b> {{ 1 }} \u2028 \U0001f600'
    messages = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    assert prompt_text(processor, question, 0) == processor.apply_chat_template(
        messages, add_generation_prompt=True
    )


def test_r40_a_template_that_does_not_end_is_stopped_and_the_next_is_rendered(
    processor, monkeypatch
):
    monkeypatch.setattr(templates, "RENDER_SECONDS", 0.5)
    good = processor.tokenizer.chat_template
    processor.tokenizer.chat_template = LOOP
    with pytest.raises(ConfigError, match=r"chat template.*not done after 0.5 seconds.*another"):
        prompt_text(processor, "what?", 0)
    monkeypatch.undo()
    processor.tokenizer.chat_template = good
    assert "what?" in prompt_text(processor, "what?", 0)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}"
            "{% endfor %}",
            "MemoryError",
        ),
        ("{{ 'a' * 2000000 }}", "it makes 2000000 characters"),
        ("{{ 'a' * 99999999999 }}", "MemoryError"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "OverflowError: Range too big"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("{% include 'other' %}", "TypeError: no loader"),
        ("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "RecursionError"),
        ("(" * 10, None),
    ],
)
def test_r40_what_a_template_does_wrong_is_told(processor, template, said):
    processor.tokenizer.chat_template = template
    if said is None:
        assert prompt_text(processor, "what?", 0) == template
        return
    with pytest.raises(ConfigError, match=said):
        prompt_text(processor, "what?", 0)


def test_r40_a_foreign_template_is_tried_when_its_model_is_loaded(tmp_path, monkeypatch):
    folder = replicas.llava(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(LOOP)
    monkeypatch.setattr(templates, "RENDER_SECONDS", 0.5)
    load_model.cache_clear()
    with pytest.raises(ConfigError, match=r"chat template.*not done"):
        load_model("x", str(folder), "float32", "cpu")


def test_a_model_without_a_chat_template_loads_and_cannot_be_asked(tmp_path):
    loaded = load_model("x", str(replicas.qwen2_text(tmp_path / "model")), "float32", "cpu")
    load_model.cache_clear()
    with pytest.raises(ConfigError, match=r"has no chat template.*choose a suite of texts"):
        prompt_text(loaded.processor, "what?", 0)
