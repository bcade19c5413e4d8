"""The parser's tree is html5lib's own, and it is bounded."""

import time
from collections.abc import Iterable
from typing import Any

import html5lib
import pytest
from hypothesis import example, given

from models.scoring import dom
from models.scoring.dom import PREFIXES, Element, End, parse, walk
from tests.pages import HOSTILE, soup


def ours(document: Element) -> list[object]:
    """Tags, attributes' values, texts and ends in order."""
    events: list[object] = []
    for event in walk(document):
        if isinstance(event, Element):
            events.append((event.tag, sorted(event.attributes.values())))
        else:
            events.append(None if isinstance(event, End) else event)
    return events


def theirs(node: Any) -> list[object]:
    """The same of a tree by html5lib's builder for minidom; adjacent texts are one where a comment parts them."""
    events: list[object] = []
    for child in node.childNodes:
        if child.nodeType == child.TEXT_NODE:
            if events and isinstance(events[-1], str):
                events[-1] += child.data
            else:
                events.append(child.data)
        elif child.nodeType == child.ELEMENT_NODE:
            tag = PREFIXES.get(child.namespaceURI, "") + child.tagName
            events += [(tag, sorted(child.attributes.item(i).value for i in range(len(child.attributes))))]
            events += [*theirs(child), None]
    return events


# one that html5lib forgets, and two that it reports where today's standard has none; test_html.py has all three
KNOWN = {"unexpected-char-implies-table-voodoo", "expected-named-entity", "named-entity-without-semicolon"}


def without_known(codes: Iterable[str]) -> list[str]:
    return [code for code in codes if code not in KNOWN]


@given(soup)
@example("<b a=1><p>x</b>y")
@example("<p><b a=1>x<p>y")
@example("<a><div>x<a>y</div>z")
@example("<p>1<table>x<tr>y<td>z</td><b a=1>u")
@example("<table>\f<math><html>")
def test_the_tree_and_the_errors_of_any_soup_are_those_of_html5lib(html: str) -> None:
    parser = html5lib.HTMLParser(html5lib.getTreeBuilder("dom"))
    try:
        expected = parser.parse(html)
    except AssertionError:
        assert parse(html).errors == ["not-parsed"]
        return
    page = parse(html)
    assert page.complete
    assert without_known(page.errors) == without_known(code for _, code, _ in parser.errors)
    assert ours(page.document) == theirs(expected)


def test_a_walk_gives_each_element_its_content_and_its_end_with_texts_in_one_piece() -> None:
    page = parse("<p>a&amp;b<!-- not a text -->c<b>d</b>")
    tags = [event.tag if isinstance(event, Element) else event for event in walk(page.document)]
    body = tags[tags.index("body") :]
    assert [event if isinstance(event, str) else f"/{event.element.tag}" for event in body] == [
        *["body", "p", "a&bc", "b", "d", "/b", "/p", "/body", "/html"]
    ]


@pytest.mark.parametrize(
    ("html", "code"),
    [
        ("<div>" * 1_000, "nested-too-deep"),
        ("<p " + " ".join(f"a{number}" for number in range(200)) + ">", "too-many-attributes"),
        ("<p>" * 20_000, "too-many-elements"),
        ("<div>" * 200 + "<p></p>" * 19_000, "too-complex"),
        ("<!--" + "-x" * 90_000, "too-complex"),
        ("<table>\f<math><html>", "not-parsed"),
    ],
)
def test_a_page_beyond_the_limits_has_one_error_and_the_tree_that_there_is(html: str, code: str) -> None:
    page = parse("<h1>Title</h1>" + html)
    assert page.errors == [code]
    assert not page.complete
    assert "Title" in ours(page.document)


def test_a_page_at_the_limits_is_parsed() -> None:
    # html and body are open too
    deep = parse("<!DOCTYPE html><title>x</title>" + "<div>" * (dom.MAX_DEPTH - 2) + "</div>" * (dom.MAX_DEPTH - 2))
    attributes = parse(
        "<!DOCTYPE html><title>x</title><p " + " ".join(f"a{number}" for number in range(dom.MAX_ATTRIBUTES)) + ">"
    )
    assert (deep.complete, attributes.complete) == (True, True)
    assert (deep.errors, attributes.errors) == ([], [])


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_a_second(name: str) -> None:
    assert len(HOSTILE[name]) <= 200_000
    start = time.process_time()
    parse(HOSTILE[name])
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("digits", "text"), [("0" * 5_000 + "65", "A"), ("9" * 5_000, "\ufffd"), ("0" * 5_000, "\ufffd")]
)
def test_a_character_may_be_a_number_of_any_length(digits: str, text: str) -> None:
    assert text in ours(parse(f"<p>&#{digits};").document)
