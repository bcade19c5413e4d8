"""Messages as token ids, for generation, evaluation, training and calibration alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from models.prompts.control_tokens import control_tokens
from models.prompts.rows import Message, Row
from models.prompts.templates import (
    AUTO,
    CHAT,
    PAGEWRIGHT_1,
    RAW,
    PromptError,
    PromptOptions,
    Template,
    chat_template,
    check_template,
    hash_of,
    is_text,
    join_input,
    own_template,
    with_defaults,
    with_system,
)

_PROBE = "probe"
_FAILURES = (TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError)
"""What a template raises when it does not suit the messages."""


@dataclass(frozen=True)
class Turn:
    """An assistant's turn: the tokens that generation starts from, and those that a model should generate then.

    `answer` ends with the token that ends the turn.
    """

    prompt: list[int]
    answer: list[int]
    learn: bool


class Prompter:
    """Turns messages into token ids by one template."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, options: PromptOptions | None = None, end: int | None = None
    ) -> None:
        """`end` is the token that ends a turn if neither the template nor the tokenizer has one.

        Raises PromptError if there is no such template, or none of the three names a token that ends a turn.
        """
        if not tokenizer.is_fast:
            raise PromptError(
                "the tokenizer has no fast form, so control tokens can't be told from characters: add its "
                "tokenizer.json to the model's files"
            )
        self._tokenizer = tokenizer
        options = options or PromptOptions()
        self._system, self._variables = options.system, options.variables or {}
        self.template = resolve(tokenizer, options)
        self._control = control_tokens(tokenizer)
        shown_end = self._shown_end()
        if shown_end is not None and shown_end not in self._control.ids:
            self._control = control_tokens(tokenizer, [shown_end])
        self._end_is_shown = shown_end is not None
        ends = (self._control.ids[shown_end] if shown_end else None, tokenizer.eos_token_id, end)
        known = next((token for token in ends if token is not None), None)
        if known is None:
            raise PromptError("the model has no end-of-sequence token, and its template shows none")
        self.turn_end = int(cast(Any, known))
        """The token that ends an assistant's turn."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens that generation starts from. Raises PromptError."""
        return self._control.encode(self._render(messages, add_generation_prompt=True))

    def prompt_of(self, row: Row) -> list[int]:
        """Return the tokens that generation starts from, for the row's context, instruction and input."""
        return self.prompt(self.messages_of(row))

    def messages_of(self, row: Row) -> list[Message]:
        """Return the messages before the row's output."""
        content = join_input(self.template.name, row.instruction, row.input)
        return with_system([*row.context, Message("user", content)], self._system)

    def turns_of(self, row: Row, *, last_only: bool = False) -> list[Turn]:
        """Return the assistant's turns of a row, in order, or the last one only. Raises PromptError."""
        messages = [*self.messages_of(row), Message("assistant", row.output, row.learn)]
        numbers = [number for number, message in enumerate(messages) if message.role == "assistant"]
        return [self._turn(messages[: number + 1]) for number in (numbers[-1:] if last_only else numbers)]

    @property
    def options(self) -> PromptOptions:
        """Options that give the same prompts with every tokenizer of the same tokens."""
        return PromptOptions(self.template.name, self.template.text, self._system, self._variables or None)

    def exported(self) -> str:
        """Return the Jinja text by which other programs render the same prompts, system message and variables included.

        Raises PromptError if the system message or a variable contains a control token, which it would become there.
        """
        for name, value in (("system", self._system), *self._variables.items()):
            token = self._control.contains(str(value))
            if token:
                raise PromptError(f"{name}: it contains the control token {token}, which a template can't show as text")
        return with_defaults(self.template.text, self._system, self._variables)

    def _turn(self, messages: list[Message]) -> Turn:
        *before, reply = messages
        start = self._render(before, add_generation_prompt=True)
        whole = self._render(messages, add_generation_prompt=False)
        prompt = self._control.encode(start)
        rest = whole[len(start) :]
        if whole.startswith(start) and self._control.escape(reply.content).strip() in rest:
            tokens = self._control.encode(whole)
            # A token can span the border, but the model continues from the tokens of the prompt.
            follows = tokens[: len(prompt)] == prompt
            answer = tokens[len(prompt) :] if follows else self._control.encode_after(rest)
            if self.turn_end in answer:
                return Turn(prompt, answer[: answer.index(self.turn_end) + 1], reply.learn)
            if not self._end_is_shown:
                return Turn(prompt, [*answer, self.turn_end], reply.learn)
        # The template starts an answer otherwise than its prompt for one ends, or leaves out a part of it.
        answer = self._control.encode_after(self._control.escape(reply.content))
        return Turn(prompt, [*answer, self.turn_end], reply.learn)

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        chat = [{"role": message.role, "content": self._control.escape(message.content)} for message in messages]
        try:
            rendered: Any = self._tokenizer.apply_chat_template(
                chat,
                chat_template=self.template.text,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **self._control.escape(self._variables),
            )
        except _FAILURES as error:
            roles = ", ".join(message.role for message in messages)
            raise PromptError(f"the template can't render a chat of {roles}: {error}") from error
        return str(rendered)

    def _shown_end(self) -> str | None:
        """Return the first token that the template puts after an answer, or None."""
        messages = with_system([Message("user", _PROBE), Message("assistant", _PROBE)], self._system)
        _, _, after = self._render(messages, add_generation_prompt=False).rpartition(_PROBE)
        tokens = [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.content.strip()]
        found = [(after.find(token), -len(token), token) for token in tokens if token in after]
        return min(found)[2] if found else None


def resolve(tokenizer: PreTrainedTokenizerBase, options: PromptOptions) -> Template:
    """Return the template that the options name for this tokenizer. Raises PromptError if there is none."""
    template = options.template
    if options.text is not None:
        return Template(template, options.text)
    if is_text(template):
        check_template(template)
        return Template(hash_of(template), template)
    if template == AUTO:
        template = CHAT if tokenizer.chat_template else PAGEWRIGHT_1
    if template == CHAT:
        try:
            return chat_template(tokenizer.get_chat_template())
        except ValueError as error:
            raise PromptError("template: the model's tokenizer has no chat template; name another template") from error
    if template in (PAGEWRIGHT_1, RAW):
        return own_template(template, _prefix(tokenizer))
    raise PromptError(f"template: there is no template {template}")


def _prefix(tokenizer: Any) -> str:
    """Return Jinja for the tokens that the tokenizer puts in front of every text."""
    # The backend can be used on several threads, unlike the tokenizer.
    with_tokens = tokenizer.backend_tokenizer.encode(_PROBE).ids
    plain = tokenizer.backend_tokenizer.encode(_PROBE, add_special_tokens=False).ids
    length = next(n for n in range(len(with_tokens)) if with_tokens[n : n + len(plain)] == plain)
    tokens = tokenizer.convert_ids_to_tokens(with_tokens[:length])
    return "".join("{{ bos_token }}" if token == tokenizer.bos_token else f"{{{{ {token!r} }}}}" for token in tokens)
