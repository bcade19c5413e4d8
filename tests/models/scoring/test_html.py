"""Parse errors, canonical form, structure and visible text of pages."""

import pytest

from models.scoring.dom import parse
from models.scoring.html import SPACES, canonical_form, parse_errors, structure, visible_text

PAGE = """<!DOCTYPE html>
<html lang="en">
  <head>
    <title>T</title>
  </head>
  <body>
    {}
  </body>
</html>
"""


def same(a: str, b: str) -> bool:
    return canonical_form(parse(a)) == canonical_form(parse(b))


def test_a_valid_page_has_no_errors() -> None:
    assert parse_errors(PAGE.format("<p>caf&eacute; &amp; <b>bar</b></p><br/><ul><li>one<li>two</ul>")) == []


@pytest.mark.parametrize(
    ("html", "errors"),
    [
        ("", ["expected-doctype-but-got-eof"]),
        ("just text", ["expected-doctype-but-got-chars"]),
        (PAGE.format("<div>"), ["expected-one-end-tag-but-got-another"]),
        (PAGE.format("<b><i>x</b></i>"), ["adoption-agency-1.3", "adoption-agency-1.2"]),
        (PAGE.format('AT&T & co, <a href="?a=1&b=2&copy=3">x</a>'), []),
        (PAGE.format("&copyx"), ["named-entity-without-semicolon"]),
        (PAGE.format('<a href="?&copy">x</a>'), ["named-entity-without-semicolon"]),
        (PAGE.format("a &bogus; b &amp c"), ["expected-named-entity", "named-entity-without-semicolon"]),
        (PAGE.format("<table>x</table>"), ["unexpected-char-implies-table-voodoo"]),
        (PAGE.format("<p id=a id=b></p>"), ["duplicate-attribute"]),
        (PAGE.format("\0"), ["invalid-codepoint"]),
    ],
)
def test_errors_are_reported_in_source_order(html: str, errors: list[str]) -> None:
    assert parse_errors(html) == errors


def test_at_most_a_thousand_errors_are_listed() -> None:
    assert parse_errors(PAGE.format("</p>" * 2_000)) == ["unexpected-end-tag"] * 1_000


def test_a_page_beyond_a_limit_has_the_limit_as_its_only_error() -> None:
    assert parse_errors("<!DOCTYPE html>" + "<div>" * 300) == ["nested-too-deep"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param('<p id="x" class="y">a</p>', "<p class=y id='x'>a</p>", id="the order and quotes of attributes"),
        pytest.param("<input disabled>", '<INPUT DISABLED="">', id="upper and lower case, and an empty value"),
        pytest.param("&eacute; &#233; &lt;", "é \xe9 &LT;", id="how a character is written"),
        pytest.param("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>", id="optional end tags"),
        pytest.param("<p>a<p>b", "<p>a</p>\n\n<p>b</p>", id="whitespace between blocks"),
        pytest.param("<p>a b</p>", "<p>\n  a\t\n b </p>", id="runs of whitespace"),
        pytest.param("<p>a <b> b</b> c</p>", "<p>a <b>b</b> c</p>", id="a space after a space, across elements"),
        pytest.param("<p><b> a </b></p>", "<p><b>a</b></p>", id="the edge of a block, within an inline element"),
        pytest.param("a <br> b", "a<br>b", id="around a line break"),
        pytest.param("<button> a </button>", "<button>a</button>", id="within a button"),
        pytest.param("<select> <option>a </option></select>", "<select><option>a</select>", id="around options"),
        pytest.param("a <script>x</script> b", "a <script> x\n</script>b", id="around a script and its text"),
        pytest.param("<svg> <circle/> </svg>", "<svg><circle></circle></svg>", id="in a drawing"),
        pytest.param("a<!-- b -->c", "ac", id="comments"),
        pytest.param("<pre>\na</pre>", "<pre>a</pre>", id="the first line break of pre"),
        pytest.param("<table><tr><td>a</table>", "<table><tbody><tr><td>a</td></tr></tbody></table>", id="tbody"),
    ],
)
def test_two_ways_to_write_a_page_have_the_same_canonical_form(a: str, b: str) -> None:
    assert same(PAGE.format(a), PAGE.format(b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("<b>a</b> <i>b</i>", "<b>a</b><i>b</i>", id="a space between inline elements"),
        pytest.param("a <b>b</b>", "a<b> b</b>", id="a space in or before an element"),
        pytest.param("<img src=a> x", "<img src=a>x", id="a space after an image"),
        pytest.param("a <button>b</button>", "a<button>b</button>", id="a space before a button"),
        pytest.param("<pre>a\n b</pre>", "<pre>a\nb</pre>", id="whitespace inside pre"),
        pytest.param("<pre><b>a</b> </pre>", "<pre><b>a</b></pre>", id="whitespace at the end of pre"),
        pytest.param("<textarea>a </textarea>", "<textarea>a</textarea>", id="whitespace inside a textarea"),
        pytest.param("<script>a\nb</script>", "<script>a b</script>", id="whitespace inside a script"),
        pytest.param("a&nbsp;b", "a b", id="a no-break space"),
        pytest.param("<p title='a  b'>", "<p title='a b'>", id="whitespace in an attribute"),
        pytest.param("<p class=x>a", "<p class=X>a", id="the value of an attribute"),
        pytest.param("<p>a</p>b", "<p>ab</p>", id="where an element ends"),
        pytest.param("<svg><a></a></svg>", "<a></a>", id="the language of an element"),
        pytest.param("<b></b>", "", id="an empty element"),
    ],
)
def test_different_pages_have_different_canonical_forms(a: str, b: str) -> None:
    assert not same(PAGE.format(a), PAGE.format(b))


def test_the_canonical_form_includes_the_doctype_and_its_identifiers() -> None:
    old = '<!DOCTYPE html PUBLIC "-//W3C//DTD HTML 3.2//EN">'
    assert same("<!doctype HTML><p>a", "<!DOCTYPE html><p>a")
    assert not same("<p>a", "<!DOCTYPE html><p>a")
    assert not same(f"{old}<p>a", "<!DOCTYPE html><p>a")


def test_the_canonical_form_ignores_whether_optional_tags_are_written() -> None:
    assert same(
        "<!DOCTYPE html><title>x</title><p>a",
        "<!DOCTYPE html><html><head><title> x </title></head><body><p>a</p></body>",
    )


def test_the_structure_is_the_elements_in_order_with_their_depths() -> None:
    elements = structure(parse(PAGE.format("<ul><li>a<li><b>b</b></ul><svg><circle/></svg>")))
    assert elements.tags == ["title", "ul", "li", "li", "b", "svg svg", "svg circle"]
    assert elements.depths == [0, 0, 1, 1, 2, 0, 1]


@pytest.mark.parametrize("html", ["", "just text", "<html><body>"])
def test_a_page_without_elements_has_an_empty_structure(html: str) -> None:
    assert structure(parse(html)).tags == []


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("<p>a</p><p>b</p>", "a b"),
        ("<b>a</b>b<i> c</i>", "ab c"),
        ("a<br>b", "a b"),
        ("<ul><li>a<li>b</ul><table><td>c<td>d</table>", "a b c d"),
        ("<pre> a\n\n  b </pre>", "a b"),
        ("a<script>x</script>b<style>y</style>c<template>z</template>", "abc"),
        ("a <b hidden>x<div>y</div></b>c", "a c"),
        ("<noscript>x</noscript><canvas>y</canvas>&lt;&nbsp;", "<\xa0"),
        ("a<button>b</button><textarea>c</textarea>", "a b c"),
    ],
)
def test_the_visible_text_is_what_a_browser_shows_on_one_line(html: str, text: str) -> None:
    assert visible_text(parse(PAGE.format(html))) == text.strip(SPACES)
