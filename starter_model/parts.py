# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Parts of a page made of text: headings, paragraphs, lists, tables, quotations.

Each function draws one part: how an instruction asks for it, its values as fields of an `input`, and its HTML.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from starter_model import values, vocabulary
from starter_model.markup import block, escape, indent, line, raw
from starter_model.values import chance
from starter_model.wording import Fields, listing, quote


@dataclass(frozen=True)
class Part:
    """A part of a page. `title` is a fallback for the page's title. Without `fields`, the part has no values to copy."""

    noun: str
    phrase: str
    lines: list[str]
    fields: Fields = field(default_factory=dict)
    title: str = "Page"
    script: list[str] = field(default_factory=list)
    heading: bool = False


Maker = Callable[[Random], Part]


def _says(r: Random) -> str:
    return r.choice(
        (
            " that says ",
            " saying ",
            " reading ",
            ": ",
            " ",
            " with the text ",
            " which says ",
            " with text ",
            " containing ",
        )
    )


def _of(r: Random) -> str:
    return r.choice(
        (
            " of ",
            ": ",
            " with ",
            " containing ",
            " with the items ",
            " listing ",
            " showing ",
            " that lists ",
            " including ",
        )
    )


def heading(r: Random) -> Part:
    """A heading of level 1, or of a level that the request names."""
    text = values.title(r)
    level = r.choice((1, 1, 1, 1, 2, 2, 3, 4, 5, 6))
    if level == 1:
        noun = r.choice(
            (
                "a heading",
                "a heading",
                "a header",
                "a main heading",
                "an h1 heading",
                "a title heading",
                "an <h1>",
                "an h1",
            )
        )
    else:
        noun = r.choice((f"an h{level} heading", f"a level {level} heading", f"an <h{level}> heading", f"an h{level}"))
        if level == 2 and chance(r, 0.5):
            noun = r.choice(("a subheading", "a subtitle", "a sub-heading"))
    label = "subheading" if "sub" in noun else r.choice(("heading", "heading", "header", f"h{level}"))
    return Part(noun, noun + _says(r) + quote(r, text), [line(f"h{level}", text)], {label: text}, text, heading=True)


def paragraph(r: Random) -> Part:
    """One paragraph."""
    text = values.paragraph(r)
    noun = r.choice(
        (
            "a paragraph",
            "a paragraph",
            "a paragraph",
            "a text",
            "some text",
            "a paragraph of text",
            "a <p> element",
            "a short text",
        )
    )
    label = r.choice(("paragraph", "text", "content", "body"))
    return Part(noun, noun + _says(r) + quote(r, text), [line("p", text)], {label: text}, "Text")


def paragraphs(r: Random) -> Part:
    """Two to four paragraphs."""
    texts = values.distinct(r, r.randint(2, 4), values.sentence)
    count = ("two", "three", "four")[len(texts) - 2]
    noun = f"{r.choice((count, count, str(len(texts))))} paragraphs"
    return Part(noun, noun + r.choice((": ", " saying ", " with the texts ")) + listing(r, texts, True),
                [line("p", text) for text in texts], {"paragraphs": list(texts)}, "Text")  # fmt: skip


def bullets(r: Random) -> Part:
    """An unordered list."""
    noun = r.choice(
        (
            "a list",
            "an unordered list",
            "a bulleted list",
            "a bullet list",
            "a bullet point list",
            "an unordered list",
            "a <ul> list",
        )
    )
    if chance(r, 0.08):
        return _default_list(r, noun, "ul")
    entries = values.items(r)
    label = r.choice(("items", "list", "list items", "items"))
    return Part(noun, noun + _of(r) + listing(r, entries), _list("ul", entries), {label: list(entries)}, "List")


def steps(r: Random) -> Part:
    """An ordered list."""
    noun = r.choice(
        (
            "an ordered list",
            "a numbered list",
            "an ordered list",
            "a list with numbers",
            "an <ol> list",
            "a numbered list",
        )
    )
    if chance(r, 0.08):
        return _default_list(r, noun, "ol")
    entries = values.items(r)
    label = r.choice(("items", "steps", "list", "list items"))
    return Part(noun, noun + _of(r) + listing(r, entries), _list("ol", entries), {label: list(entries)}, "List")


def _list(name: str, entries: list[str]) -> list[str]:
    return block(name, [line("li", text) for text in entries])


def _default_list(r: Random, noun: str, name: str) -> Part:
    count = r.randint(2, 8)
    shown = r.choice((str(count), ("two", "three", "four", "five", "six", "seven", "eight")[count - 2]))
    request = r.choice((f"{noun} with {shown} items", f"{noun} of {shown} items", f"{noun} that has {shown} entries"))
    return Part(request, request, _list(name, [f"Item {place}" for place in range(1, count + 1)]), {}, "List")


def definitions(r: Random) -> Part:
    """A definition list."""
    terms = values.distinct(r, r.randint(2, 5), lambda q: values.capital(values.noun(q)))
    meanings = [values.words(r, 2, 6) for _ in terms]
    noun = r.choice(("a definition list", "a description list", "a <dl> list", "a glossary", "a list of definitions"))
    phrase = (
        noun
        + r.choice((" with ", ": ", " of "))
        + "; ".join(f"{term}: {text}" for term, text in zip(terms, meanings, strict=True))
    )
    body = [shown for term, text in zip(terms, meanings, strict=True) for shown in (line("dt", term), line("dd", text))]
    return Part(
        noun,
        phrase,
        block("dl", body),
        {r.choice(("terms", "definitions")): [[t, m] for t, m in zip(terms, meanings, strict=True)]},
        "Definitions",
    )


def nested(r: Random) -> Part:
    """A list whose entries have lists of their own."""
    groups = values.distinct(r, r.randint(2, 3), lambda q: values.capital(values.noun(q)))
    inner = [values.items(r, 2, 3) for _ in groups]
    noun = r.choice(("a nested list", "a list with sublists", "a nested unordered list", "a list with nested items"))
    phrase = (
        noun
        + r.choice((" with ", ": ", " of "))
        + "; ".join(f"{group} ({', '.join(entries)})" for group, entries in zip(groups, inner, strict=True))
    )
    body: list[str] = []
    for group, entries in zip(groups, inner, strict=True):
        body += ["<li>" + escape(group), *indent(_list("ul", entries)), "</li>"]
    return Part(
        noun,
        phrase,
        block("ul", body),
        {"list": [[group, *entries] for group, entries in zip(groups, inner, strict=True)]},
        "List",
    )


def grid(columns: list[str], rows: list[list[str]], caption: str = "") -> list[str]:
    """A table with a head row."""
    head = block("tr", [line("th", name) for name in columns])
    body = [shown for row in rows for shown in block("tr", [line("td", text) for text in row])]
    return block(
        "table", [*([line("caption", caption)] if caption else []), *block("thead", head), *block("tbody", body)]
    )


def draw_table(r: Random, most_rows: int = 5, most_columns: int = 4) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of cells."""
    columns = values.distinct(
        r,
        r.randint(2, most_columns),
        lambda q: q.choice(vocabulary.COLUMN_NAMES) if chance(q, 0.85) else values.capital(values.made_up(q)),
    )
    return columns, [[values.cell(r, name) for name in columns] for _ in range(r.randint(1, most_rows))]


def table(r: Random) -> Part:
    """A table with named columns and rows."""
    columns, rows = draw_table(r)
    noun = r.choice(("a table", "a table", "an HTML table", "a data table", "a simple table", "a table element"))
    kind = r.choice(("the columns ", "columns ", "the headers ", "headers ", "column names ", "the header row "))
    if chance(r, 0.5):
        data = r.choice((" and the rows ", " and rows ", "; rows: ", " and the data ", ". The rows are ")) + "; ".join(
            ", ".join(row) for row in rows
        )
    else:
        data = r.choice((" and the rows ", " and rows ")) + " and ".join(f"({', '.join(row)})" for row in rows)
    label = r.choice(("table", "data", "rows", "csv"))
    return Part(
        noun,
        f"{noun} with {kind}{listing(r, columns, False)}{data}",
        grid(columns, rows),
        {label: [columns, *rows]},
        "Table",
    )


def empty_table(r: Random) -> Part:
    """A table of a given number of rows and columns, or with named columns and a given number of empty rows."""
    rows, columns = r.randint(1, 6), r.randint(1, 6)
    noun = r.choice(("a table", "an HTML table", "a table", "a simple table"))
    if chance(r, 0.4):
        names = values.distinct(r, r.randint(2, 5), lambda q: q.choice(vocabulary.COLUMN_NAMES))
        phrase = f"{noun} with {r.choice(('columns for ', 'the columns ', 'columns ', 'headers '))}{listing(r, names)} and {_count(r, rows, 'empty row')}"
        return Part(phrase, phrase, grid(names, [[""] * len(names)] * rows), {}, "Table")
    phrase = r.choice(
        (
            f"{noun} with {_count(r, rows, 'row')} and {_count(r, columns, 'column')}",
            f"{noun} of {_count(r, rows, 'row')} and {_count(r, columns, 'column')}",
            f"a {rows}x{columns} table",
            f"{noun} that has {_count(r, columns, 'column')} and {_count(r, rows, 'row')}",
        )
    )
    body = [
        shown
        for row in range(1, rows + 1)
        for shown in block("tr", [line("td", f"Row {row}, Column {column}") for column in range(1, columns + 1)])
    ]
    return Part(phrase, phrase, block("table", body), {}, "Table")


def _count(r: Random, number: int, noun: str) -> str:
    word = ("one", "two", "three", "four", "five", "six")[number - 1]
    return f"{r.choice((str(number), word))} {noun}{'' if number == 1 else 's'}"


def quotation(r: Random) -> Part:
    """A block quotation, with or without its author."""
    text = values.sentence(r)
    noun = r.choice(("a blockquote", "a quote", "a block quote", "a quotation"))
    if chance(r, 0.5):
        return Part(
            noun,
            noun + r.choice((" that says ", " saying ", ": ", " with the text ")) + quote(r, text),
            block("blockquote", [line("p", text)]),
            {"quote": text},
            "Quote",
        )
    author = values.person(r)
    return Part(noun, f"{noun} by {author}{r.choice((': ', ' saying ', ' that says '))}{quote(r, text)}",
                block("blockquote", [line("p", text), raw("footer", line("cite", author))]), {"quote": text, "author": author}, "Quote")  # fmt: skip


def details(r: Random) -> Part:
    """A block that opens and closes."""
    summary, text = values.title(r), values.sentence(r)
    noun = r.choice(
        (
            "a details element",
            "a collapsible section",
            "an expandable section",
            "a details block",
            "a disclosure widget",
        )
    )
    phrase = f"{noun} with the {r.choice(('summary', 'summary', 'label', 'title'))} {quote(r, summary)} and the {r.choice(('text', 'content', 'text'))} {quote(r, text)}"
    return Part(
        noun,
        phrase,
        block("details", [line("summary", summary), line("p", text)]),
        {"summary": summary, "details": text},
        "Details",
    )


def code(r: Random) -> Part:
    """A line of code, shown as code."""
    name, argument = values.noun(r), values.noun(r)
    text = r.choice(
        (
            f"{name} = {values.number(r)}",
            f"print({argument})",
            f"let {name} = {values.number(r)};",
            f"if {name} > {values.number(r)}: {argument}()",
            f"{name}.{argument}()",
        )
    )
    noun = r.choice(("a code block", "a code snippet", "a block of code", "preformatted code"))
    return Part(
        noun,
        f"{noun} {r.choice(('showing', 'with', 'containing'))} {quote(r, text)}",
        [raw("pre", line("code", text))],
        {"code": text},
        "Code",
    )


_EMPHASIS = {
    "bold": "strong",
    "strong": "strong",
    "italic": "em",
    "emphasized": "em",
    "underlined": "u",
    "highlighted": "mark",
    "small": "small",
    "struck through": "del",
}


def emphasis(r: Random) -> Part:
    """A paragraph in bold, italics and the like, whole or in one word."""
    look, name = r.choice(list(_EMPHASIS.items()))
    text = values.sentence(r)
    pieces = text.split(" ")
    if chance(r, 0.5) or len(pieces) < 3:
        phrase = r.choice(
            (
                f"{'an' if look[0] in 'aeiou' else 'a'} {look} text",
                f"{look} text",
                f"a paragraph in {look} text",
                f"a {look} paragraph" if look[0] not in "aeiou" else f"an {look} paragraph",
            )
        )
        return Part(
            phrase,
            phrase + _says(r) + quote(r, text),
            [raw("p", line(name, text))],
            {r.choice(("text", "paragraph")): text},
            "Text",
        )
    spot = r.randrange(len(pieces))
    word = pieces[spot].strip(".,!?")
    if not word or sum(word in piece for piece in pieces) > 1:
        return paragraph(r)
    shown = escape(text).replace(escape(word), line(name, word), 1)
    return Part(f"a paragraph with the word {quote(r, word)} {look}", f"a paragraph saying {quote(r, text)} with the word {quote(r, word)} {look}",
                [raw("p", shown)], {r.choice(("text", "paragraph")): text}, "Text")  # fmt: skip


def coloured(r: Random) -> Part:
    """A paragraph or a heading with inline CSS."""
    name = r.choice(("p", "p", "h1", "h2"))
    thing = {"p": r.choice(("paragraph", "text")), "h1": "heading", "h2": "h2 heading"}[name]
    text = values.sentence(r) if name == "p" else values.title(r)
    shade, size = values.colour(r), r.randrange(8, 72)
    ink = r.choice(("the color ", "colour ", "text color ", "font color "))
    behind = r.choice((f"a {shade} background", f"the background color {shade}", f"background color {shade}"))
    style, phrase = r.choice(
        (
            (f"color: {shade};", f"a {thing} in {shade}"),
            (f"color: {shade};", f"a {thing} with {ink}{shade}"),
            (f"background-color: {shade};", f"a {thing} with {behind}"),
            (f"font-size: {size}px;", f"a {thing} with a font size of {size}px"),
            ("text-align: center;", f"a centered {thing}"),
            ("text-align: right;", f"a right-aligned {thing}"),
            (f"color: {shade}; font-size: {size}px;", f"a {thing} in {shade} with font size {size}px"),
            (f"color: {shade}; text-align: center;", f"a centered {thing} in {shade}"),
        )
    )
    return Part(phrase, phrase + _says(r) + quote(r, text), [line(name, text, style=style)], {r.choice(("text", "content")): text},
                "Text" if name == "p" else text, heading=name != "p")  # fmt: skip


TEXT_PARTS: dict[str, Maker] = {
    "heading": heading,
    "paragraph": paragraph,
    "paragraphs": paragraphs,
    "unordered list": bullets,
    "ordered list": steps,
    "definition list": definitions,
    "nested list": nested,
    "table": table,
    "empty table": empty_table,
    "blockquote": quotation,
    "details": details,
    "code": code,
    "emphasis": emphasis,
    "inline CSS": coloured,
}
