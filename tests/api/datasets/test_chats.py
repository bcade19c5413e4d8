"""Chats of several formats become rows, or errors that name the row and the message."""

import json
from typing import Any

import pytest

from api.datasets.limits import MAX_CHARACTERS
from models.prompts.rows import Message, Row
from tests.api.datasets.test_rows import CHAT, USUAL, check, faults, said

SYSTEM = Message("system", "Be brief.")
TURNS = (Message("user", "Ask."), Message("assistant", "Answer."))
SINGLE = Row("Ask.", "", "Answer.")
CHAT_ROW = Row("Make it red.", "", "<p>", (SYSTEM, *TURNS))


def from_(role: Any, value: Any) -> dict[str, Any]:
    return {"from": role, "value": value}


SAID = [said("user", "Ask."), said("assistant", "Answer."), said("user", "Make it red."), said("assistant", "<p>")]
PAIRS = [["Ask.", "Answer."]]


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (CHAT, {"messages": [said("system", "Be brief."), *SAID]}),
        (CHAT, {"messages": [said("developer", "Be brief."), *SAID]}),
        (CHAT | {"system": "system"}, {"messages": SAID, "system": "Be brief."}),
        (CHAT | {"system": "system"}, {"messages": [said("system", " "), *SAID], "system": "Be brief."}),
        (CHAT | {"system": "system"}, {"messages": [said("system", "Be brief."), *SAID], "system": "Be brief."}),
        (
            {"messages": "conversations", "system": "system"},
            {
                "conversations": [
                    from_("human", "Ask."),
                    from_("gpt", "Answer."),
                    from_("user", "Make it red."),
                    from_("model", "<p>"),
                ],
                "system": "Be brief.",
            },
        ),
        (
            CHAT,
            {
                "messages": [
                    from_("system", "Be brief."),
                    from_("human", "Ask."),
                    from_("bot", "Answer."),
                    from_("human", "Make it red."),
                    from_("assistant", "<p>"),
                ]
            },
        ),
        (
            USUAL | {"system": "system", "history": "history"},
            {"instruction": "Make it red.", "output": "<p>", "system": "Be brief.", "history": PAIRS},
        ),
        (
            USUAL | {"system": "system", "history": "history"},
            {"instruction": "Make it red.", "output": [{"role": "assistant", "content": "<p>"}], "system": "Be brief."}
            | {"instruction": SAID[:3], "learned": False},
        ),
    ],
)
def test_the_same_chat_can_be_written_in_several_formats(columns: dict[str, str], row: dict[str, Any]) -> None:
    [checked] = check([row], columns)
    if row.get("learned", True):
        assert checked == CHAT_ROW
    else:  # a prompt is not learned, as in TRL
        assert checked == Row(
            "Make it red.", "", "<p>", (SYSTEM, TURNS[0], Message("assistant", "Answer.", learn=False))
        )


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("Ask.", [said("assistant", "Answer.")]),
        ([said("user", "Ask.")], "Answer."),
        ([said("user", "Ask.")], [said("assistant", "Answer.")]),
        ([], [said("user", "Ask."), said("assistant", "Answer.")]),
    ],
)
def test_a_prompt_and_a_completion_are_texts_or_messages(prompt: Any, completion: Any) -> None:
    assert check([{"prompt": prompt, "completion": completion}], {"instruction": "prompt", "output": "completion"}) == [
        SINGLE
    ]


def test_a_row_keeps_its_input_beside_a_system_message_and_a_history() -> None:
    columns = USUAL | {"input": "input", "system": "system", "history": "history"}
    row = {
        "instruction": "Make it red.",
        "input": "title: One",
        "output": "<p>",
        "system": "Be brief.",
        "history": PAIRS,
    }
    assert check([row], columns) == [Row("Make it red.", "title: One", "<p>", (SYSTEM, *TURNS))]
    empty: list[Any] = [None, [], [[]]]
    rows = [row | {"system": " ", "history": history} for history in empty]
    assert check(rows, columns) == [Row("Make it red.", "title: One", "<p>")] * 3


def test_a_chat_of_two_messages_is_a_single_turn() -> None:
    messages = SAID[:2]
    assert check([{"messages": messages}, {"messages": [said("system", " "), *messages]}], CHAT) == [SINGLE] * 2
    assert check([{"messages": [said("system", "Be brief."), *messages]}], CHAT) == [
        Row("Ask.", "", "Answer.", (SYSTEM,))
    ]


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "As"}, {"type": "text", "text": "k.", "image_url": None}]
    assert check([{"messages": [said("user", parts), SAID[1]]}], CHAT) == [SINGLE]


def test_an_answer_of_weight_0_is_not_learned() -> None:
    def weighted(*weights: Any) -> list[dict[str, Any]]:
        return [message | {"weight": weight} for message, weight in zip(SAID, weights, strict=True)]

    answers = [(0, 1), (0.0, None), (1, 0), (None, 1.0)]
    rows = check([{"messages": weighted(0, first, 1, last)} for first, last in answers], CHAT)
    assert [(row.context[1].learn, row.learn) for row in rows] == [
        (False, True),
        (False, True),
        (True, False),
        (True, True),
    ]
    assert all(row.context[0].learn for row in rows)
    assert faults([{"messages": weighted(1, 0, 1, 0)}], CHAT)[0][0] == "row 1, messages"


def test_fields_of_other_formats_may_be_null() -> None:
    nothing: dict[str, Any] = {
        "from": None,
        "value": None,
        "tool_calls": [],
        "function_call": {"name": None},
        "weight": None,
    }
    assert check([{"messages": [nothing | message for message in SAID[:2]]}], CHAT) == [SINGLE]
    assert check([{"messages": [from_("human", "Ask.") | {"role": None}, from_("gpt", "Answer.")]}], CHAT) == [SINGLE]


TOOLS = "is a tool call or the result of one"
NOT_FIRST = "is a system message, which must be the first message and the only one of its kind"
IMAGE = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("messages", "field", "message"),
    [
        (None, "", "is missing"),
        ("text", "", "must be a list of messages"),
        (json.dumps(SAID), "", "must be a list of messages"),
        ({}, "", "must be a list of messages"),
        ([], "", "must have a message of the user and an answer"),
        ([said("system", "a")], "", "must have a message of the user and an answer"),
        (["a", "b"], "[0]", "must be an object with `role` and `content`"),
        (SAID[:1], "[0]", "the last message must be the assistant's"),
        (SAID[:3], "[2]", "the last message must be the assistant's"),
        (SAID[1:], "[0]", "the first message, or the one after the system message, must be the user's"),
        ([said("system", "a"), SAID[1]], "[1]", "the first message, or the one after the system message, must be the"),
        ([SAID[0], *SAID], "[1]", "follows another message of the user; join"),
        ([*SAID, SAID[3]], "[4]", "follows another message of the assistant; join"),
        (
            [said("system", "a"), said("system", "b"), *SAID],
            "[1]",
            NOT_FIRST,
        ),
        (
            [*SAID[:2], said("system", "a"), *SAID[2:]],
            "[2]",
            NOT_FIRST,
        ),
        ([said("tool", "a"), *SAID], "[0]", TOOLS),
        ([*SAID[:2], said("function", "a")], "[2]", TOOLS),
        ([from_("human", "a"), from_("function_call", "a"), from_("observation", "b")], "[1]", TOOLS),
        ([SAID[0], said("assistant", None) | {"tool_calls": [{"id": "1"}]}], "[1]", TOOLS),
        ([SAID[0], SAID[1] | {"function_call": {"name": "a", "arguments": ""}}], "[1]", TOOLS),
        ([said("critic", "a"), SAID[1]], "[0].role", "must be one of system, developer, user, human, assistant, gpt"),
        ([from_("critic", "a"), SAID[1]], "[0].from", "must be one of system"),
        ([said(["user"], "a"), SAID[1]], "[0].role", "must be one of system"),
        ([{"content": "a"}, SAID[1]], "[0].role", "is missing"),
        ([{"role": "user"}, SAID[1]], "[0].content", "is missing"),
        ([{"from": "human"}, SAID[1]], "[0].value", "is missing"),
        ([said("user", None), SAID[1]], "[0].content", "is missing"),
        ([said("user", 7), SAID[1]], "[0].content", "must be a string"),
        ([said("user", IMAGE), SAID[1]], "[0].content[1]", "is a part of the type 'image_url', but only text"),
        ([said("user", ["a"]), SAID[1]], "[0].content[0]", "must be a text part"),
        ([said("user", [{"type": "text"}]), SAID[1]], "[0].content[0].text", "must be a string"),
        ([said("user", []), SAID[1]], "[0].content", "must not be blank"),
        ([said("user", " "), SAID[1]], "[0].content", "must not be blank"),
        ([said("system", "a"), said("user", " "), SAID[1]], "[1].content", "must not be blank"),
        ([said("system", 7), *SAID], "[0].content", "must be a string"),
        ([SAID[0], said("assistant", "")], "[1].content", "must not be blank"),
        ([said("user", "a\0"), SAID[1]], "[0].content", "must not contain the character U+0000"),
        ([SAID[0], said("assistant", "\ud800")], "[1].content", "must not contain an unpaired surrogate"),
        ([SAID[0], said("assistant", "x" * (MAX_CHARACTERS + 1))], "[1].content", "must not be longer than 200000"),
        ([said("system", "x" * MAX_CHARACTERS), *SAID], "", "the messages of a chat must not be longer than 200000"),
        ([SAID[0], SAID[1] | {"weight": 0.5}], "[1].weight", "must be 0 or 1"),
        ([SAID[0], SAID[1] | {"weight": "0"}], "[1].weight", "must be 0 or 1"),
        ([SAID[0], SAID[1] | {"weight": 0}], "", "every message of the assistant has the weight 0"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_any_other_chat_is_an_error_that_names_the_message(messages: Any, field: str, message: str) -> None:
    [(found, said_)] = faults([{"messages": SAID}, {"messages": messages}], CHAT)
    assert found == f"row 2, messages{field}"
    assert said_.startswith(message)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"history": "[]"}, "history", "must be a list of pairs"),
        ({"history": [SAID[0]]}, "history[0]", "must be a pair"),
        ({"history": [["a", "b"], ["c"]]}, "history[1]", "must be a pair"),
        ({"history": [["a", None]]}, "history[0][1]", "is missing"),
        ({"history": [[" ", "b"]]}, "history[0][0]", "must not be blank"),
        ({"history": [["a", "b" * MAX_CHARACTERS]]}, "instruction", "the messages of a chat must not be longer"),
        ({"system": 7}, "system", "must be a string"),
        ({"instruction": SAID[:1], "history": PAIRS}, "history", "can't be combined with a list of messages"),
        ({"instruction": SAID[:1], "input": "a"}, "input", "can't be combined with a list of messages"),
        ({"instruction": SAID[:1], "output": None}, "output", "is missing"),
        ({"instruction": None, "output": SAID[1:2]}, "instruction", "is missing"),
        ({"instruction": SAID[:2], "output": "a"}, "output", "follows another message of the assistant"),
        ({"instruction": [said("system", "b"), SAID[0]], "system": "c"}, "instruction[0]", "differs from the system"),
        ({"instruction": SAID[:1], "output": [*SAID[1:3]]}, "output[1]", "the last message must be the assistant's"),
        ({"instruction": [said("user", IMAGE)]}, "instruction[0].content[1]", "is a part of the type 'image_url'"),
    ],
)
def test_errors_of_other_formats_name_their_place(changes: dict[str, Any], field: str, message: str) -> None:
    columns = USUAL | {"input": "input", "system": "system", "history": "history"}
    row = {"instruction": "a", "input": "", "output": "b"}
    [(found, said_)] = faults([row, row | changes], columns)
    assert found == f"row 2, {field}"
    assert said_.startswith(message)
