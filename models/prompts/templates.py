"""Prompt templates: Jinja texts, as chat templates are, that render messages as a prompt text. Imports no torch."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox

from models.prompts.rows import Message
from models.tasks.errors import TaskError

AUTO = "auto"
CHAT = "chat"
PAGEWRIGHT_1 = "pagewright-1"
RAW = "raw"
NAMES = (AUTO, CHAT, PAGEWRIGHT_1, RAW)
"""`auto` is `chat` if the tokenizer has a chat template, else `pagewright-1`. `chat` is the tokenizer's."""

MAX_CHARACTERS = 100_000
"""The longest template. The longest of public models have about 20,000 characters."""

RESERVED_VARIABLES = frozenset({"messages", "add_generation_prompt", "tools", "documents", "chat_template"})
"""Variables of a template that no request can set."""

VARIABLE = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,63}$")
"""The name of a variable of a template."""

_INPUT = "\n\n### Input:\n"

_TEXTS = {
    PAGEWRIGHT_1: (
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}"
        "{{ '### Instruction:\\n' + message['content'] | trim + '\\n\\n' }}"
        "{% elif message['role'] == 'assistant' %}"
        "{{ '### Response:\\n' + message['content'] + eos_token }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}"
        "{% else %}"
        "{{ message['content'] + '\\n\\n' }}"
        "{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
    ),
    RAW: (
        "{% for message in messages %}"
        "{{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
        "{% if message['role'] == 'system' %}{{ '\\n\\n' }}{% endif %}"
        "{% endfor %}"
    ),
}
"""The templates of our own, without the tokens that a tokenizer puts in front of every text."""


class PromptError(TaskError):
    """There is no such template, or it can't render the messages. The message says why."""


@dataclass(frozen=True)
class PromptOptions:
    """How a job prompts its model.

    - `template`: a name of NAMES, a Jinja text, or the hash of the Jinja text in `text`.
    - `text`: the Jinja text that is meant by the name or the hash; None if the tokenizer decides.
    - `system`: the system message of chats that have none.
    - `variables`: JSON values for variables of the template.
    """

    template: str = AUTO
    text: str | None = None
    system: str | None = None
    variables: dict[str, Any] | None = None


@dataclass(frozen=True)
class Template:
    """A Jinja text. `name` is one of PAGEWRIGHT_1, RAW and CHAT, or the text's own hash."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """The hash of the text, by which it is stored."""
        return hash_of(self.text)


def is_text(template: str) -> bool:
    """Return whether the template is a Jinja text rather than a name or a hash, neither of which has a brace."""
    return "{" in template


def is_hash(template: str) -> bool:
    """Return whether the template is the hash of a text."""
    return re.fullmatch("[0-9a-f]{64}", template) is not None


def hash_of(text: str) -> str:
    """Return the sha256 of a template's text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def own_template(name: str, prefix: str) -> Template:
    """Return PAGEWRIGHT_1 or RAW. `prefix` is Jinja for the tokens that the tokenizer puts in front of every text."""
    return Template(name, prefix + _TEXTS[name])


def chat_template(text: str) -> Template:
    """Return a tokenizer's chat template. It can be PAGEWRIGHT_1 or RAW, which models made with them carry."""
    return Template(next((name for name, own in _TEXTS.items() if text.endswith(own)), CHAT), text)


def default_extract(template_name: str) -> str:
    """Return which part of a completion is the page, unless a request says it: `none` for all of it, or `html`."""
    return "none" if template_name in _TEXTS else "html"


def join_input(template_name: str, instruction: str, input: str) -> str:
    """Return the content of the one user message that an instruction and its input are.

    An input that is empty or blank is left out.
    """
    if template_name == PAGEWRIGHT_1:
        return instruction.strip() + (_INPUT + input.strip() if input.strip() else "")
    return f"{instruction}\n\n{input}" if input.strip() else instruction


def build_prompt(instruction: str, input: str = "") -> str:
    """Return the prompt text of an instruction by PAGEWRIGHT_1, without special tokens."""
    message = {"role": "user", "content": join_input(PAGEWRIGHT_1, instruction, input)}
    return _compile(_TEXTS[PAGEWRIGHT_1]).render(messages=[message], add_generation_prompt=True)


def with_defaults(text: str, system: str | None, variables: Mapping[str, Any] | None) -> str:
    """Return the template with a system message for chats without one, and values for variables that are not given.

    `variables` has JSON values. Without both, the text is returned as it is.
    """
    statements = [
        f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value)} %}}{{% endif %}}"
        for name, value in sorted((variables or {}).items())
    ]
    if system is not None:
        message = _literal({"role": "system", "content": system})
        statements.append(
            "{% if not messages or messages[0]['role'] != 'system' %}"
            f"{{% set messages = [{message}] + messages %}}{{% endif %}}"
        )
    # Jinja drops the newline after a block, and then looks at the text's first line as it would without these blocks.
    return "".join(statements) + "\n" + text if statements else text


def check_template(text: str) -> None:
    """Raise PromptError, naming the line, for a text that is no Jinja template."""
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"the template has {len(text)} characters, and {MAX_CHARACTERS} are allowed")
    try:
        _environment().parse(text)
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"line {error.lineno} of the template: {error.message}") from error


def check_variables(variables: Mapping[str, Any]) -> None:
    """Raise PromptError for a name that is no variable of a template, or that a request can't set."""
    for name in variables:
        if not VARIABLE.fullmatch(name):
            raise PromptError(f"{name!r} is not a name that a variable can have")
        if name in RESERVED_VARIABLES or name.endswith("_token"):
            raise PromptError(f"{name} can't be set by a request")


def with_system(messages: Sequence[Message], system: str | None) -> list[Message]:
    """Return the messages, after the system message `system` if there is one and they have none."""
    if system is None or (messages and messages[0].role == "system"):
        return list(messages)
    return [Message("system", system), *messages]


def _literal(value: Any) -> str:
    """Return a JSON value as a Jinja expression."""
    if isinstance(value, str):
        for character, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
            value = value.replace(character, escaped)
        return f"'{value}'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value).lower() if value is None or isinstance(value, bool) else repr(value)


class _Generation(jinja2.ext.Extension):
    """Parses `{% generation %}`, by which templates mark the assistant's text, as transformers does."""

    tags = {"generation"}  # noqa: RUF012  Jinja reads this class attribute

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> jinja2.Environment:
    return jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )


@cache
def _compile(text: str) -> jinja2.Template:
    return _environment().from_string(text)
