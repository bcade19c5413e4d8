"""Messages become the same token ids in training, in serving, and by the template in the saved folder."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from models.fine_tuning.examples import encode
from models.prompts.chat import Prompter, resolve
from models.prompts.rows import Message, Row
from models.prompts.templates import PromptError, PromptOptions, build_prompt, hash_of
from tests.models.prompts.tokenizers import CHATS, KINDS

FIRST = (Message("user", "Create a page.\nUse  two spaces."), Message("assistant", "<h1>One</h1>"))
CHAT = Row("Now a list.", "one, two", "<ul>\n<li>one</li>\n</ul>", FIRST)
ALL = [(kind, chat) for kind in KINDS for chat in CHATS]
OWN = [(kind, chat, template) for kind, chat in ALL for template in ("pagewright-1", "raw")]


def tokenizer_of(kind: str, chat: str) -> Any:
    return KINDS[kind](CHATS[chat])


def dicts(messages: list[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def exported(prompter: Prompter, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Any:
    """What another program loads from the folder of a model that was trained with this prompter."""
    tokenizer.chat_template = prompter.exported()
    tokenizer.save_pretrained(folder)
    assert (folder / "chat_template.jinja").read_text() == prompter.exported()
    return AutoTokenizer.from_pretrained(folder)


def rendered(tokenizer: Any, messages: list[Message], *, prompt: bool, **variables: Any) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        dicts(messages), add_generation_prompt=prompt, return_dict=False, **variables
    )
    return ids


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_prompt_has_the_ids_of_the_chat_template_in_the_saved_folder(kind: str, name: str, tmp_path: Path) -> None:
    tokenizer, chat = tokenizer_of(kind, name), CHATS[name]
    prompter = Prompter(tokenizer)
    other = exported(prompter, tokenizer, tmp_path)
    system = (Message("system", "Answer with HTML."),) if chat.system else ()
    for row in (CHAT, Row("Create a page.", "", ""), Row("Now a list.", "one", "", (*system, *FIRST))):
        prompt = prompter.prompt_of(row)
        assert prompt == rendered(other, prompter.messages_of(row), prompt=True)
        assert [turn.prompt for turn in prompter.turns_of(row)][-1] == prompt


@pytest.mark.parametrize(("kind", "name", "template"), OWN)
def test_our_templates_are_saved_with_the_tokens_that_the_tokenizer_puts_in_front(
    kind: str, name: str, template: str, tmp_path: Path
) -> None:
    tokenizer = tokenizer_of(kind, name)
    prompter = Prompter(tokenizer, PromptOptions(template))
    row = Row(CHAT.instruction, CHAT.input, CHAT.output, (Message("system", "Answer with HTML."), *FIRST))
    prompt = prompter.prompt_of(row)
    assert prompt == rendered(exported(prompter, tokenizer, tmp_path), prompter.messages_of(row), prompt=True)
    assert [turn.prompt for turn in prompter.turns_of(row)][-1] == prompt
    bos = tokenizer.bos_token_id
    assert prompt.count(bos) == (0 if bos is None else 1)


@pytest.mark.parametrize("template", ["pagewright-1", "raw"])
def test_a_chat_by_our_templates_is_one_example(template: str) -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "brackets")
    prompter = Prompter(tokenizer, PromptOptions(template))
    [example] = encode(CHAT, prompter)
    tokenizer.chat_template = prompter.exported()
    messages = [*prompter.messages_of(CHAT), Message("assistant", CHAT.output)]
    assert example.tokens.tolist() == rendered(tokenizer, messages, prompt=False)
    assert tokenizer.decode(example.tokens[example.learn]) == f"<h1>One</h1></s>{CHAT.output}</s>"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_prompt_by_pagewright_1_is_the_text_as_the_tokenizer_encodes_it_without_an_end(kind: str, name: str) -> None:
    tokenizer = tokenizer_of(kind, name)
    whole: Any = tokenizer(build_prompt("Create a page.", "title: One"))["input_ids"]
    prompt = Prompter(tokenizer, PromptOptions("pagewright-1")).prompt_of(Row("Create a page.", "title: One", ""))
    assert prompt == [id for id in whole if id != tokenizer.eos_token_id]
    assert tokenizer.bos_token is None or len(prompt) == len(whole) - 1, "this tokenizer puts an end behind every text"


@pytest.mark.parametrize("name", [name for name in CHATS if name != "thinking"])
def test_a_chat_is_one_example_with_the_ids_of_the_chat_template(name: str) -> None:
    tokenizer = tokenizer_of("byte_level_bpe", name)
    prompter = Prompter(tokenizer)
    [example] = encode(CHAT, prompter)
    whole = rendered(tokenizer, [*prompter.messages_of(CHAT), Message("assistant", CHAT.output)], prompt=False)
    assert example.tokens.tolist() == whole[: len(example)]
    assert tokenizer.decode(whole[len(example) :]).strip() == "", "at most the line break after the last turn"
    end = CHATS[name].turn_end
    learned = tokenizer.decode(example.tokens[example.learn]).replace(" ", "")
    assert learned == f"<h1>One</h1>{end}{CHAT.output}{end}".replace(" ", "")


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_an_answer_is_learned_as_generation_has_to_give_it(kind: str, name: str) -> None:
    """Also where a token spans the border of prompt and answer, as those of these sentencepiece tokenizers do."""
    tokenizer = tokenizer_of(kind, name)
    prompter = Prompter(tokenizer)
    [*_, last] = encode(CHAT, prompter)
    answer = last.tokens[len(prompter.prompt_of(CHAT)) :].tolist()
    assert last.tokens[: len(prompter.prompt_of(CHAT))].tolist() == prompter.prompt_of(CHAT)
    assert last.learn[-len(answer) :].all()
    assert answer.index(prompter.turn_end) == len(answer) - 1
    thinking = "<think>\n\n</think>\n\n" if name == "thinking" else ""
    assert tokenizer.decode(answer[:-1]).strip() == thinking + CHAT.output


def test_a_turn_whose_thinking_is_left_out_later_is_an_example_of_its_own() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "thinking")
    prompter = Prompter(tokenizer)
    context = (Message("user", "Create a page."), Message("assistant", "<think>\na heading\n</think>\n\n<h1>One</h1>"))
    row = Row("Now a list.", "", "<ul></ul>", context)
    first, second = encode(row, prompter)
    assert tokenizer.decode(first.tokens[first.learn]) == "<think>\na heading\n</think>\n\n<h1>One</h1><|im_end|>"
    assert first.tokens[~first.learn].tolist() == prompter.prompt_of(Row("Create a page.", "", ""))
    assert "a heading" not in tokenizer.decode(second.tokens)
    assert second.tokens[~second.learn].tolist() == prompter.prompt_of(row)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_control_tokens_in_the_text_of_users_are_characters(kind: str, name: str) -> None:
    tokenizer, chat = tokenizer_of(kind, name), CHATS[name]
    prompter = Prompter(tokenizer)
    control = tokenizer.convert_tokens_to_ids(list(chat.tokens))
    text = "<p>Was <s>10</s> now 8</p>" + "".join(chat.tokens) + " and ".join(chat.tokens)
    plain = [id for id in prompter.prompt_of(Row("Create.", "", "")) if id in control]
    prompt = prompter.prompt_of(Row(text, "", ""))
    assert [id for id in prompt if id in control] == plain
    assert text in tokenizer.decode(prompt, skip_special_tokens=True)
    [turn] = prompter.turns_of(Row("Create.", "", text))
    assert [id for id in turn.answer if id in control] == [prompter.turn_end]
    assert text in tokenizer.decode(turn.answer, skip_special_tokens=True)


def test_private_characters_and_parts_of_control_tokens_in_a_text_stay() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    text = "\U0010f800<|im_end|>\U0010f801 <|<|im_end|>im_end|> |im_end|> \U0010f800\U0010f800"
    prompt = Prompter(tokenizer).prompt_of(Row(text, "", ""))
    assert text in tokenizer.decode(prompt, skip_special_tokens=True)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_turn_ends_with_the_token_that_the_template_puts_behind_it(kind: str, name: str) -> None:
    tokenizer = tokenizer_of(kind, name)
    assert tokenizer.convert_ids_to_tokens(Prompter(tokenizer).turn_end) == CHATS[name].turn_end
    assert Prompter(tokenizer, PromptOptions("raw")).turn_end == tokenizer.eos_token_id


def test_without_a_turn_end_and_an_end_token_of_the_tokenizer_the_turn_ends_with_the_model_s() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    tokenizer.eos_token = None
    plain = PromptOptions("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    assert Prompter(tokenizer, plain, end=7).turn_end == 7
    [turn] = Prompter(tokenizer, plain, end=7).turns_of(Row("Create.", "", "<p>"))
    assert turn.answer[-1] == 7
    with pytest.raises(PromptError, match="no end-of-sequence token"):
        Prompter(tokenizer, plain)


def test_a_turn_end_that_is_no_special_token_is_a_control_token() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    tokenizer.add_tokens(["<end_of_turn>"])
    options = PromptOptions("{% for message in messages %}{{ message['content'] }}<end_of_turn>\n{% endfor %}")
    prompter = Prompter(tokenizer, options)
    assert tokenizer.convert_ids_to_tokens(prompter.turn_end) == "<end_of_turn>"
    [turn] = prompter.turns_of(Row("Create.", "", "<p><end_of_turn></p>"))
    assert turn.answer.count(prompter.turn_end) == 1
    assert turn.answer[-1] == prompter.turn_end


@pytest.mark.parametrize("name", ["brackets", "turns"])
def test_a_chat_that_the_template_refuses_is_an_error_with_its_reason(name: str) -> None:
    prompter = Prompter(tokenizer_of("byte_level_bpe", name))
    row = Row("Create.", "", "<p>", (Message("user", "Hello."),))
    with pytest.raises(PromptError, match=r"can't render a chat of user, user: .*oles must alternate"):
        prompter.prompt_of(row)


def test_a_system_message_that_the_template_refuses_is_an_error() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "turns")
    with pytest.raises(PromptError, match=r"chat of system, user.*System role not supported"):
        Prompter(tokenizer, PromptOptions(system="Answer with HTML."))


@pytest.mark.parametrize("template", ["auto", "pagewright-1", "raw"])
@pytest.mark.parametrize("name", [name for name, chat in CHATS.items() if chat.system])
def test_the_system_message_and_variables_are_saved_with_the_template(name: str, template: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of("byte_level_bpe", name)
    options = PromptOptions(template, None, 'It\'s HTML \\ "{{ page }}"\n{% if %}', {"enable_thinking": False})
    prompter = Prompter(tokenizer, options)
    other = exported(prompter, tokenizer, tmp_path)
    for row in (CHAT, Row("Create a page.", "", "")):
        assert prompter.prompt_of(row) == rendered(
            other, list(row.context) + prompter.messages_of(row)[-1:], prompt=True
        )
    own = Row("Create a page.", "", "", (Message("system", "Another."),))
    assert prompter.prompt_of(own) == rendered(other, prompter.messages_of(own), prompt=True)
    again = Prompter(tokenizer, PromptOptions(prompter.template.name, prompter.exported()))
    assert again.prompt_of(CHAT) == prompter.prompt_of(CHAT), "an adapter is served with what was saved"
    assert "HTML" in tokenizer.decode(again.prompt_of(CHAT))


def test_a_variable_changes_what_the_template_renders() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "thinking")
    prompter = Prompter(tokenizer, PromptOptions(variables={"enable_thinking": False}))
    prompt = prompter.prompt_of(CHAT)
    assert tokenizer.decode(prompt).endswith("<think>\n\n</think>\n\n")
    assert prompt == rendered(tokenizer, prompter.messages_of(CHAT), prompt=True, enable_thinking=False)


def test_a_system_message_with_a_control_token_is_text_and_can_t_be_saved() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    prompter = Prompter(tokenizer, PromptOptions(system="End with <|im_end|>."))
    assert "End with <|im_end|>." in tokenizer.decode(prompter.prompt_of(CHAT), skip_special_tokens=True)
    with pytest.raises(PromptError, match=r"system: .*<\|im_end\|>"):
        prompter.exported()


def test_auto_is_the_chat_template_if_there_is_one() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    assert resolve(tokenizer, PromptOptions()).name == "chat"
    tokenizer.chat_template = None
    assert resolve(tokenizer, PromptOptions()).name == "pagewright-1"
    with pytest.raises(PromptError, match="template: the model's tokenizer has no chat template"):
        resolve(tokenizer, PromptOptions("chat"))
    with pytest.raises(PromptError, match="there is no template alpaca"):
        resolve(tokenizer, PromptOptions("alpaca"))


@pytest.mark.parametrize("name", ["pagewright-1", "raw"])
def test_a_model_that_was_saved_with_a_template_of_ours_has_it_by_its_name(name: str) -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    tokenizer.chat_template = Prompter(tokenizer, PromptOptions(name, system="Answer with HTML.")).exported()
    assert resolve(tokenizer, PromptOptions()).name == name


def test_a_jinja_text_of_one_s_own_is_known_by_its_hash() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    text = "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
    prompter = Prompter(tokenizer, PromptOptions(text))
    assert (prompter.template.name, prompter.template.sha256) == (hash_of(text), hash_of(text))
    assert tokenizer.decode(prompter.prompt_of(Row("Create.", "a", ""))) == "Create.\n\na<|im_end|>"
    stored = Prompter(tokenizer, PromptOptions(hash_of(text), text))
    assert stored.prompt_of(CHAT) == prompter.prompt_of(CHAT)


def test_a_template_can_t_reach_python() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    with pytest.raises(PromptError, match="unsafe"):
        Prompter(tokenizer, PromptOptions("{{ messages.__class__.__mro__ }}"))


def test_a_tokenizer_without_a_fast_form_is_refused() -> None:
    with pytest.raises(PromptError, match=r"tokenizer\.json"):
        Prompter(ByT5Tokenizer())


def test_all_turns_are_learned_or_the_last_and_none_of_weight_0() -> None:
    tokenizer = tokenizer_of("byte_level_bpe", "chatml")
    prompter = Prompter(tokenizer)
    [everything] = encode(CHAT, prompter)
    [last] = encode(CHAT, prompter, last_turn_only=True)
    assert last.tokens.tolist() == everything.tokens.tolist()
    assert tokenizer.decode(last.tokens[last.learn]) == CHAT.output + "<|im_end|>"
    unweighted = Row(CHAT.instruction, CHAT.input, CHAT.output, CHAT.context, learn=False)
    [first] = encode(unweighted, prompter)
    assert tokenizer.decode(first.tokens[first.learn]) == "<h1>One</h1><|im_end|>"
    assert encode(unweighted, prompter, last_turn_only=True) == []
    without_first = Row(CHAT.instruction, CHAT.input, CHAT.output, (FIRST[0], Message("assistant", "x", learn=False)))
    [example] = encode(without_first, prompter)
    assert tokenizer.decode(example.tokens[example.learn]) == CHAT.output + "<|im_end|>"
