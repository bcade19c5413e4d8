# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Pages derived from an `input`: filled templates, converted texts and records, edited and repaired pages."""

import json
import re
from random import Random

from starter_model import composing, values, wording
from starter_model.composing import Draft, Kind
from starter_model.markup import block, escape, indent, line, page, raw, tag
from starter_model.parts import draw_table, grid
from starter_model.values import chance
from starter_model.wording import quote

_VARIABLES = {
    "name": values.first_name,
    "city": values.place,
    "product": values.noun,
    "price": values.price,
    "date": values.date,
    "company": values.title,
    "number": values.number,
    "email": values.email,
    "time": values.clock,
    "topic": values.topic,
}
_TEMPLATES = [
    "Hello, {a}!",
    "Hello {a}, welcome to {b}.",
    "Dear {a}, your {b} is ready.",
    "Hi {a}, see you on {b}.",
    "{a} and {b} belong together.",
    "Good morning, {a}. Today we have {b}.",
    "Thank you, {a}! We got your order of {b} for {c}.",
    "We meet at {a} in {b}.",
    "My name is {a} and I live in {b}.",
    "Welcome back, {a}!",
    "The next {a} is about {b} at {c}.",
    "{a} costs {b}.",
    "Write to {a} before {b}, or ask {c}.",
    "Happy birthday, {a}! Love, {b}.",
    "{a}, {b} and {c} are waiting.",
]


def template(r: Random) -> Draft:
    """A sentence with variables, and their values."""
    pattern = r.choice(_TEMPLATES)
    if chance(r, 0.3):
        pattern = f"{values.words(r, 1, 3)} {{a}} {values.words(r, 1, 3)} {{b}}."
    slots = [slot for slot in "abc" if f"{{{slot}}}" in pattern]
    names = r.sample(list(_VARIABLES), len(slots))
    given = {name: _VARIABLES[name](r) for name in names}
    marks = r.choice((("{", "}"), ("{{", "}}"), ("[", "]"), ("{{ ", " }}"), ("$", ""), ("%", "%"), ("<", ">")))
    shown, filled = pattern, pattern
    for slot, name in zip(slots, names, strict=True):
        shown = shown.replace(f"{{{slot}}}", marks[0] + name + marks[1])
        filled = filled.replace(f"{{{slot}}}", given[name])
    html = page("Message", [line("p", filled)])
    what = r.choice(
        (
            "a page from the template",
            "a page that shows the message",
            "a page with the template",
            "a greeting page from",
            "a page with the text",
        )
    )
    pick = r.randrange(3)
    if pick == 0:
        return Draft(
            wording.use_input(r, wording.make(r, f"{what} {quote(r, shown)}")), wording.as_input(r, dict(given)), html
        )
    if pick == 1:
        fields: wording.Fields = {"template": shown, **given}
        ask = r.choice(
            (
                "Fill in the template and show it as a web page.",
                "Replace the variables in the template and make a page of it.",
                "Create a page from the template and its values.",
            )
        )
        return Draft(ask, wording.as_input(r, fields), html)
    facts = wording.listing(r, [f"{name} = {value}" for name, value in given.items()], False)
    return Draft(f"{wording.verb(r)} {what} {quote(r, shown)} where {facts}.", "", html)


def _marked(text: str) -> str:
    """Inline Markdown as HTML."""
    html = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    html = re.sub(r"\*(.+?)\*", r"<em>\1</em>", html)
    return re.sub(r"\[(.+?)\]\((.+?)\)", r'<a href="\2">\1</a>', html)


def _decorated(r: Random, text: str) -> str:
    pieces = text.split(" ")
    spot = r.randrange(len(pieces))
    mark = r.choice(("**", "*"))
    pieces[spot] = mark + pieces[spot] + mark
    if chance(r, 0.3):
        pieces.append(f"[{values.noun(r)}]({values.url(r)})")
    return " ".join(pieces)


def markdown(r: Random) -> Draft:
    """A text in Markdown becomes a page."""
    source: list[str] = []
    body: list[str] = []
    title = "Text"
    if chance(r, 0.8):
        title = values.title(r)
        source.append(f"# {title}")
        body.append(line("h1", title))
    for _ in range(r.randint(1, 4)):
        pick = r.randrange(5)
        if pick == 0:
            text = values.title(r)
            source.append(f"## {text}")
            body.append(line("h2", text))
        elif pick == 1:
            entries = values.items(r, 2, 5)
            ordered = chance(r, 0.4)
            source.append(
                "\n".join(f"{place}. {text}" if ordered else f"- {text}" for place, text in enumerate(entries, 1))
            )
            body += block("ol" if ordered else "ul", [line("li", text) for text in entries])
        elif pick == 2:
            text = values.sentence(r)
            source.append(f"> {text}")
            body += block("blockquote", [line("p", text)])
        else:
            text = _decorated(r, values.sentence(r)) if chance(r, 0.5) else values.paragraph(r)
            source.append(text)
            body.append(raw("p", _marked(text)))
    ask = r.choice(
        (
            "Convert this Markdown to an HTML page.",
            "Turn the Markdown text into HTML.",
            "Make a web page out of this Markdown.",
            "Convert the following Markdown into HTML.",
            "Render the Markdown below as an HTML document.",
            "Convert the text to HTML.",
        )
    )
    return Draft(ask, "\n\n".join(source), page(title, body))


def plain_text(r: Random) -> Draft:
    """Lines of text become a heading and paragraphs."""
    title, texts = values.title(r), values.distinct(r, r.randint(1, 5), values.sentence)
    ask = r.choice(
        (
            "Turn this text into a web page with a heading and paragraphs.",
            "Make an HTML page from the text: the first line is the heading, the others are paragraphs.",
            "Convert the plain text into an HTML page. The first line is the title.",
            "Format the following text as an HTML page.",
        )
    )
    return Draft(
        ask,
        r.choice(("\n", "\n\n")).join([title, *texts]),
        page(title, [line("h1", title), *(line("p", text) for text in texts)]),
    )


def records(r: Random) -> Draft:
    """JSON becomes a table: objects its rows, or one object a row for each key."""
    columns, rows = draw_table(r, 4)
    indentation = r.choice((None, None, 2))
    if chance(r, 0.6):
        data = [dict(zip(columns, row, strict=True)) for row in rows]
        ask = r.choice(
            (
                "Turn this JSON into an HTML table.",
                "Convert the JSON data to a table.",
                "Show the JSON below as a table.",
                "Create a table from the JSON objects.",
                "Make a web page with a table of this JSON.",
            )
        )
        return Draft(ask, json.dumps(data, ensure_ascii=False, indent=indentation), page("Table", grid(columns, rows)))
    record = dict(zip(columns, rows[0], strict=True))
    ask = r.choice(
        (
            "Show this record as a table with one row per key.",
            "Make a two-column table of the keys and values.",
            "Display the object as a table of keys and values.",
        )
    )
    body = [shown for key, value in record.items() for shown in block("tr", [line("th", key), line("td", value)])]
    text = (
        json.dumps(record, ensure_ascii=False, indent=indentation)
        if chance(r, 0.6)
        else "\n".join(f"{key}: {value}" for key, value in record.items())
    )
    return Draft(ask, text, page("Record", block("table", body)))


def _add(html: str, lines: list[str], after: str = "") -> str:
    new = "\n".join(indent(lines, 2))
    if after:
        return html.replace(after + "\n", f"{after}\n{new}\n", 1)
    return html.replace("\n  </body>", f"\n{new}\n  </body>", 1)


def edit(r: Random) -> Draft:
    """A page is changed in one place."""
    start = composing.together(r, [composing.PARTS[name](r) for name in r.choice((("heading", "paragraph"), ("heading", "unordered list"), ("heading", "paragraph", "ordered list"), ("heading", "table"), ("paragraph",), ("heading", "paragraph", "image"), ("heading", "link"), ("menu", "heading", "paragraph")))], looked=0.15)  # fmt: skip
    html = start.page
    title = re.search(r"<title>(.*)</title>", html)
    top = re.search(r"<h1>(.*)</h1>", html)
    new, text = values.title(r), values.sentence(r)
    shown = quote(r, new), quote(r, text)
    end = r.choice(("", " at the end", " at the bottom of the page", " to the end of the body"))
    edits = [
        (f"{r.choice(('Change', 'Set'))} the {r.choice(('title', 'page title', 'title of the page'))} to {shown[0]}.", html.replace(title.group(0), line("title", new), 1) if title else html),
        (f"Add a paragraph {r.choice(('saying', 'that says', 'with the text'))} {shown[1]}{end}.", _add(html, [line("p", text)])),
        (f"Add a footer {r.choice(('saying', 'that says', 'with the text'))} {shown[1]}.", _add(html, block("footer", [line("p", text)]))),
        (f"Add a button {r.choice(('saying', 'that says', 'labelled'))} {shown[0]}{end}.", _add(html, [line("button", new, type="button")])),
        (f"Add {r.choice(('a subheading', 'an h2 heading'))} {shown[0]}{end}.", _add(html, [line("h2", new)])),
    ]  # fmt: skip
    if top:
        edits.append(
            (
                f"{r.choice(('Change the heading to', 'Replace the heading with', 'The heading should say', 'Update the heading to'))} {shown[0]}.",
                html.replace(top.group(0), line("h1", new), 1),
            )
        )
        edits.append(
            (
                f"Add a paragraph {shown[1]} {r.choice(('right after', 'below', 'under'))} the heading.",
                _add(html, [line("p", text)], "    " + top.group(0)),
            )
        )
    if ("</ul>" in html and "<nav>" not in html) or "</ol>" in html:
        item = values.noun(r)
        edits.append(
            (
                f"Add {quote(r, item)} to the {r.choice(('list', 'end of the list'))}.",
                re.sub(r"\n    </(ul|ol)>", lambda match: f"\n      <li>{item}</li>{match.group(0)}", html, count=1),
            )
        )
        edits.append((f"Add {quote(r, item)} to the list as the {r.choice(('last', 'final'))} item.", edits[-1][1]))
    if "<body>" in html and "body {" not in html:
        shade = values.colour(r)
        edits.append(
            (
                f"{r.choice(('Make the background', 'Set the background color to', 'Change the background to'))} {shade} with inline CSS.",
                html.replace("<body>", tag("body", style=f"background-color: {shade};"), 1),
            )
        )
    request, changed = r.choice(edits)
    about = r.choice(
        (
            "",
            "",
            "Edit the page: ",
            "Change this HTML: ",
            "Modify the following page. ",
            "Update the HTML below. ",
            "In the given page: ",
        )
    )
    return Draft(about + request, html, changed)


def repair(r: Random) -> Draft:
    """A page that lacks some of its end tags is repaired."""
    parts = r.choice(
        (
            ("heading", "paragraph"),
            ("heading", "paragraphs"),
            ("heading", "unordered list"),
            ("ordered list",),
            ("heading", "table"),
            ("blockquote",),
        )
    )
    html = composing.together(r, [composing.PARTS[name](r) for name in parts], looked=0.0).page
    ends = list(re.finditer(r"</(p|li|h1|h2|td|th|title)>$", html, re.MULTILINE))
    broken = html
    for end in sorted(r.sample(ends, min(len(ends), r.randint(1, 3))), key=lambda match: -match.start()):
        broken = broken[: end.start()] + broken[end.end() :]
    ask = r.choice(
        (
            "Fix the HTML.",
            "Some end tags are missing. Add them.",
            "Repair this page by closing all tags.",
            "Correct the errors in this HTML code.",
            "Close the open tags.",
            "Make this HTML valid.",
            "The page below has unclosed tags. Fix it.",
        )
    )
    return Draft(ask, broken, html)


def wrap(r: Random) -> Draft:
    """A fragment becomes a whole document."""
    part = composing.PARTS[
        r.choice(
            (
                "paragraph",
                "unordered list",
                "ordered list",
                "image",
                "link",
                "blockquote",
                "table",
                "heading",
                "form",
                "details",
            )
        )
    ](r)
    title = values.title(r)
    source = "\n".join(part.lines) if chance(r, 0.7) else "".join(text.strip() for text in part.lines)
    ask = r.choice(
        (
            f"Put this snippet into a full HTML document titled {quote(r, title)}.",
            f"Wrap the HTML below in a complete page with the title {quote(r, title)}.",
            f"Make a whole page titled {quote(r, title)} out of this fragment.",
            f"Turn the snippet into a valid HTML document with the title {quote(r, title)}.",
        )
    )
    return Draft(ask, source, page(title, part.lines))


def swap(r: Random) -> Draft:
    """A list of a page changes its type, or a heading its level."""
    entries = values.items(r, 2, 6)
    title = values.title(r)
    before, after = r.sample(("ul", "ol"), 2)
    names = {
        "ul": r.choice(("an unordered list", "a bulleted list")),
        "ol": r.choice(("an ordered list", "a numbered list")),
    }

    def build(name: str, level: str) -> str:
        return page(title, [line(level, title), *block(name, [line("li", text) for text in entries])])

    if chance(r, 0.5):
        ask = r.choice(
            (
                f"Change the list to {names[after]}.",
                f"Make the list {names[after]}.",
                f"Turn the list into {names[after]}.",
            )
        )
        return Draft(ask, build(before, "h1"), build(after, "h1"))
    level = r.choice(("h2", "h3", "h4"))
    ask = r.choice(
        (f"Change the heading to an {level} heading.", f"Make the heading an {level}.", f"Use {level} for the heading.")
    )
    return Draft(ask, build(before, "h1"), build(before, level))


CONVERTING: dict[str, Kind] = {
    "template": template,
    "markdown": markdown,
    "plain text": plain_text,
    "JSON": records,
    "edit": edit,
    "repair": repair,
    "wrap": wrap,
    "swap": swap,
}
