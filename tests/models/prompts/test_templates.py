"""Jinja texts: what is refused, and what is put in front of them."""

from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.prompts.templates import (
    MAX_CHARACTERS,
    PromptError,
    build_prompt,
    chat_template,
    check_template,
    check_variables,
    default_extract,
    is_text,
    join_input,
    with_defaults,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


def render(text: str, **variables: Any) -> str:
    """As transformers renders a chat template."""
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render(**variables)


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(PromptError, match=r"line 3 of the template: .*endfor"):
        check_template("{% for message in messages %}\n{{ message }}\n{% endif %}")


def test_a_template_has_a_longest_length() -> None:
    check_template("{{ messages }}" + "x" * (MAX_CHARACTERS - 14))
    with pytest.raises(PromptError, match="100001 characters, and 100000 are allowed"):
        check_template("{{ messages }}" + "x" * (MAX_CHARACTERS - 13))


def test_the_marks_and_loop_controls_of_public_templates_are_accepted() -> None:
    check_template(
        "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    )


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "bos_token", "1st", "a b", "__class__", ""])
def test_a_variable_that_a_request_can_t_set_is_refused(name: str) -> None:
    with pytest.raises(PromptError):
        check_variables({name: 1})
    check_variables({"enable_thinking": False, "reasoning_effort": "low"})


def test_a_jinja_text_is_told_from_a_name_by_its_brace() -> None:
    assert is_text("{{ messages }}")
    assert not any(is_text(name) for name in ("chat", "raw", "0" * 64))


@given(st.dictionaries(st.sampled_from(["a", "b"]), JSON, max_size=2))
def test_variables_are_the_values_of_the_saved_template(variables: dict[str, Any]) -> None:
    text = with_defaults("{{ a is defined }} {{ a == x }} {{ b == y }}", None, variables)
    x, y = variables.get("a", object()), variables.get("b", object())
    assert render(text, x=x, y=y) == f"{'a' in variables} {'a' in variables} {'b' in variables}"
    assert render(text, a=1, b=2, x=1, y=2) == "True True True", "what another program gives comes first"


@given(st.text(min_size=1))
def test_the_system_message_is_put_in_front_of_chats_without_one(system: str) -> None:
    text = with_defaults("{% for m in messages %}{{ m.role }}={{ m.content == system }};{% endfor %}", system, None)
    user, own = {"role": "user", "content": "Create."}, {"role": "system", "content": "\0own"}
    assert render(text, messages=[user], system=system) == "system=True;user=False;"
    assert render(text, messages=[own, user], system=system) == "system=False;user=False;"


@pytest.mark.parametrize("text", ["\n{{ 1 }}", "  {% if true %}\n1{% endif %}", "{{ 1 }}"])
def test_what_is_put_in_front_does_not_change_how_the_text_is_rendered(text: str) -> None:
    assert render(with_defaults(text, "Write HTML.", {"a": 1}), messages=[]) == render(text)
    assert with_defaults(text, None, None) == text


def test_an_instruction_and_its_input_are_one_message() -> None:
    assert join_input("pagewright-1", " Create. ", "a\n") == "Create.\n\n### Input:\na"
    assert join_input("chat", "Create.", "a") == "Create.\n\na"
    assert join_input("chat", "Create.", " ") == join_input("pagewright-1", "Create.", "") == "Create."


def test_pagewright_1_is_what_the_starter_model_was_trained_on() -> None:
    assert build_prompt("Create.") == "### Instruction:\nCreate.\n\n### Response:\n"
    assert build_prompt("Create.", "a") == "### Instruction:\nCreate.\n\n### Input:\na\n\n### Response:\n"


def test_the_page_is_searched_for_in_the_completions_of_chat_templates() -> None:
    assert default_extract(chat_template("{{ messages }}").name) == default_extract("0" * 64) == "html"
    assert default_extract("pagewright-1") == default_extract("raw") == "none"
