# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Compose pages of parts, with optional titles and styles. Values are in the instruction, in the `input` or in both."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from starter_model import values, vocabulary, wording
from starter_model.markup import block, line, page, raw, rule, tag
from starter_model.parts import TEXT_PARTS, Part, draw_table, grid
from starter_model.parts_more import MORE_PARTS, form_lines
from starter_model.values import chance
from starter_model.wording import Fields

PARTS = {**TEXT_PARTS, **MORE_PARTS}


@dataclass(frozen=True)
class Draft:
    """A request and its page, before the split."""

    instruction: str
    input: str
    page: str


Kind = Callable[[Random], Draft]


@dataclass(frozen=True)
class Look:
    """One request about a page's style: its sentence and its CSS declaration."""

    sentence: str
    selector: str
    name: str
    value: str


_SELECTORS = ("body", "h1", "p", "table, th, td", "table", "button", "a", "li", "img")
_PROPERTIES = (
    "background-color",
    "color",
    "border",
    "border-collapse",
    "border-radius",
    "font-family",
    "font-size",
    "text-align",
    "width",
)


def _looks(r: Random, body: str, most: int) -> list[Look]:
    shade, shade2, font = values.colour(r), values.colour(r), r.choice(vocabulary.FONTS)
    size, thickness = r.randrange(10, 60), r.randrange(1, 9)
    choices = [
        (r.choice((f"Use a {shade} background.", f"The background should be {shade}.", f"Make the background {shade}.", f"Give the page a {shade} background.", f"Set the background color to {shade}.", f"Background: {shade}.")), "body", "background-color", shade),
        (r.choice((f"The text should be {shade2}.", f"Use {shade2} text.", f"Make the text {shade2}.", f"The text color is {shade2}.")), "body", "color", shade2),
        (r.choice((f"Use the font {font}.", f"The font should be {font}.", f"Set the font to {font}.", f"Use {font} as the font.")), "body", "font-family", f"'{font}'" if " " in font else font),
        (r.choice(("Center the text.", "Everything should be centered.", "Center everything.", "The content should be centered.")), "body", "text-align", "center"),
    ]  # fmt: skip
    if "<h1" in body:
        choices.append(
            (
                r.choice(
                    (f"Make the heading {shade2}.", f"The heading should be {shade2}.", f"Color the heading {shade2}.")
                ),
                "h1",
                "color",
                shade2,
            )
        )
        choices.append(
            (
                r.choice((f"The heading should be {size}px large.", f"Set the font size of the heading to {size}px.")),
                "h1",
                "font-size",
                f"{size}px",
            )
        )
    if "<p>" in body:
        choices.append(
            (r.choice((f"Paragraphs should be {shade}.", f"Make the paragraphs {shade}.")), "p", "color", shade)
        )
    if "<table" in body:
        choices.append(
            (
                r.choice(
                    (
                        f"The table should have a {thickness}px {shade} border.",
                        f"Give the table a {thickness}px solid {shade} border.",
                    )
                ),
                "table, th, td",
                "border",
                f"{thickness}px solid {shade}",
            )
        )
        choices.append(
            (
                r.choice(("The table should be as wide as the page.", "Make the table full width.")),
                "table",
                "width",
                "100%",
            )
        )
    if "<button" in body:
        choices.append(
            (
                r.choice((f"The button should be {shade}.", f"Make the button {shade}.", f"Color the button {shade}.")),
                "button",
                "background-color",
                shade,
            )
        )
        choices.append(
            (
                r.choice(
                    (
                        f"Round the button's corners by {thickness}px.",
                        f"The button should have a border radius of {thickness}px.",
                    )
                ),
                "button",
                "border-radius",
                f"{thickness}px",
            )
        )
    if "<a " in body:
        choices.append((r.choice((f"Links should be {shade}.", f"Make the links {shade}.")), "a", "color", shade))
    if "<li>" in body:
        choices.append(
            (r.choice((f"The list items should be {shade2}.", f"Make the list items {shade2}.")), "li", "color", shade2)
        )
    if "<img" in body:
        choices.append(
            (
                r.choice((f"The image should be {size * 10}px wide.", f"Make the images {size * 10}px wide.")),
                "img",
                "width",
                f"{size * 10}px",
            )
        )
    picked = r.sample(choices, r.randint(1, min(most, len(choices))))
    return [Look(*choice) for choice in picked]


def style_lines(looks: list[Look]) -> list[str]:
    """Return the looks as CSS rules, with selectors and properties in a fixed order."""
    lines: list[str] = []
    for selector in _SELECTORS:
        wanted = {look.name: look.value for look in looks if look.selector == selector}
        if wanted:
            lines += rule(selector, **{name: wanted[name] for name in _PROPERTIES if name in wanted})
    return lines


def _join(r: Random, phrases: list[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    separator = "; " if any(";" in phrase for phrase in phrases) and chance(r, 0.5) else ", "
    last = r.choice((" and ", " and ", ", and ", ", then ", " and then ", " followed by "))
    return separator.join(phrases[:-1]) + last + phrases[-1]


def _request(r: Random, phrases: list[str], titled: str) -> str:
    """Return the first sentences of the instruction, which name the parts in the order of the page."""
    pick = r.randrange(10)
    if len(phrases) == 1 and pick < 5 and not titled:
        return wording.make(r, phrases[0])
    if pick < 7:
        content = _join(r, phrases)
        if not titled:
            return wording.page_with(r, content)
        return f"{wording.verb(r)} {wording.page_noun(r)} {titled} with {content}."
    opening = f"{wording.verb(r)} {wording.page_noun(r)}{' ' + titled if titled else ''}"
    if pick == 7:
        listed = "\n".join(f"- {phrase}" for phrase in phrases)
        return f"{opening} with{r.choice((':', ' the following:', ' these parts:'))}\n{listed}"
    if pick == 8:
        listed = "\n".join(f"{place}. {phrase}" for place, phrase in enumerate(phrases, 1))
        return f"{opening} with{r.choice((':', ' the following:', ' these elements:'))}\n{listed}"
    first, *others = phrases
    sentences = [f"{opening} with {first}."]
    sentences += [
        f"{r.choice(('Add', 'Then add', 'Below it put', 'Include', 'It should also have', 'After that, add'))} {phrase}."
        for phrase in others
    ]
    return " ".join(sentences)


_UNFILLED: tuple[tuple[str, tuple[str, ...], list[str], str], ...] = (
    ("<h1>", ("heading", "header", "h1"), [line("h1", "Heading")], "Heading"),
    ("<p>", ("paragraph", "text"), [line("p", "This is a paragraph.")], "Text"),
    ("<p><a", ("a link", "a hyperlink"), [raw("p", line("a", "Link", href="#"))], "Link"),
    ("<img", ("image", "picture", "photo"), [tag("img", src="image.jpg", alt="Image")], "Image"),
    ("<button", ("button",), [line("button", "Click me", type="button")], "Button"),
    ("<ul>", ("list",), block("ul", [line("li", f"Item {place}") for place in (1, 2, 3)]), "List"),
    ("<ol>", ("list",), block("ol", [line("li", f"Item {place}") for place in (1, 2, 3)]), "List"),
    ("<table>", ("table",), grid(["Column 1", "Column 2"], [["Cell 1", "Cell 2"], ["Cell 3", "Cell 4"]]), "Table"),
    ("<form", ("form",), form_lines(["name", "email"], "Submit"), "Form"),
    ("<footer>", ("a footer", "a page footer"), block("footer", [line("p", "Footer")]), "Page"),
    ("<blockquote>", ("quote", "quotation"), block("blockquote", [line("p", "This is a quote.")]), "Quote"),
)


def _unfilled(part: Part) -> Part:
    """Return the part with its name as the phrase, or unchanged if the name alone is not enough."""
    for start, words, lines, title in _UNFILLED:
        named = part.noun.endswith((*words, ">")) and not any(
            word in part.noun for word in ("nested", "links", "link list")
        )
        same = part.lines[0].startswith(start) and not (start == "<p>" and "<" in part.lines[0][3:-4])
        if part.fields and named and same and not part.script:
            return Part(part.noun, part.noun, lines, {}, title, heading=part.heading)
    return part


def together(r: Random, parts: list[Part], titled: float = 0.25, looked: float = 0.25, given: float = 0.45) -> Draft:
    """A page of these parts in this order, with the probabilities of a title, of a style and of an `input`."""
    phrases: list[str] = []
    with_title, with_input = "", chance(r, given)
    if not with_input:
        parts = [_unfilled(part) if chance(r, 0.05) else part for part in parts]
    body = [shown for part in parts for shown in part.lines]
    script = [shown for part in parts for shown in part.script]
    headings = [part.title for part in parts if part.heading]
    title = headings[0] if headings else parts[0].title
    fields: Fields = {}
    if chance(r, titled):
        title = values.title(r)
        if not headings:
            body = [line("h1", title), *body]
        if with_input and chance(r, 0.5):
            fields["title"] = title
            phrases.append(r.choice(("a title", "the given title", "a page title")))
        else:
            with_title = (
                r.choice(("titled", "called", "with the title", "named", "entitled")) + " " + wording.quote(r, title)
            )
    for part in parts:
        fits = part.fields and not set(part.fields) & set(fields)
        if with_input and fits and (len(parts) == 1 or chance(r, 0.85)):
            fields.update(part.fields)
            phrases.append(part.noun)
        else:
            phrases.append(part.phrase)
    instruction = _request(r, phrases, with_title)
    style: list[str] = []
    inline = ""
    if chance(r, looked):
        looks = _looks(r, "\n".join(body), 3)
        instruction = wording.then(instruction, " ".join(look.sentence for look in looks))
        only_body = all(look.selector == "body" for look in looks)
        if only_body and chance(r, 0.3):
            instruction += " " + r.choice(("Use inline CSS.", "Write the CSS inline.", "Use a style attribute."))
            inline = " ".join(text.strip() for text in style_lines(looks)[1:-1])
        else:
            style = style_lines(looks)
            instruction += r.choice(("", "", "", " Use a style block.", " Use CSS.", " Put the CSS into the head."))
    if fields:
        instruction = wording.use_input(r, instruction)
    return Draft(
        instruction, wording.as_input(r, fields) if fields else "", page(title, body, style, script, inline=inline)
    )


def single(name: str) -> Kind:
    """Return the kind of page that has one part of this name."""
    return lambda r: together(r, [PARTS[name](r)])


def _several(r: Random, low: int, high: int) -> list[Part]:
    names = r.sample(list(PARTS), r.randint(low, high))
    if chance(r, 0.7):
        names = ["heading", *(name for name in names if name != "heading")]
    return [PARTS[name](r) for name in names]


def combination(r: Random) -> Draft:
    """A page of two to four parts, mostly under a heading."""
    return together(r, _several(r, 1, 3), titled=0.15, looked=0.2)


def plain(r: Random) -> Draft:
    """The most common request: a heading, a paragraph and sometimes a list."""
    names = r.choice((("heading", "paragraph"), ("heading", "paragraph", "unordered list"), ("heading", "unordered list"),
                      ("heading", "ordered list"), ("heading", "table"), ("heading", "paragraph", "image"),
                      ("heading", "paragraph", "link"), ("heading", "form"), ("heading", "paragraph", "button"),
                      ("menu", "heading", "paragraph"), ("heading", "paragraph", "footer")))  # fmt: skip
    return together(r, [PARTS[name](r) for name in names])


def long_page(r: Random) -> Draft:
    """A page of many parts, some of them repeated, to train positions late in the context."""
    parts = [part for _ in range(r.randint(1, 3)) for part in _several(r, 2, 4)]
    return together(r, parts, looked=0.3)


def long_table(r: Random) -> Draft:
    """A table of many rows, with its data in the `input`."""
    columns, rows = draw_table(r, 30, 5)
    part = Part("a table", "", grid(columns, rows), {"data": [columns, *rows]}, "Table")
    return together(r, [part], given=1.0)


def long_list(r: Random) -> Draft:
    """A list of many entries, given as `input` or in the instruction."""
    entries = values.items(r, 8, 40)
    name, noun = r.choice(
        (("ul", "an unordered list"), ("ol", "an ordered list"), ("ul", "a list"), ("ol", "a numbered list"))
    )
    phrase = f"{noun}{r.choice((' of ', ': ', ' with '))}{wording.listing(r, entries)}"
    part = Part(noun, phrase, block(name, [line("li", text) for text in entries]), {"items": list(entries)}, "List")
    return together(r, [part], given=0.7)


COMPOSED: dict[str, Kind] = {
    **{name: single(name) for name in PARTS},
    "plain page": plain,
    "combination": combination,
    "long page": long_page,
    "long table": long_table,
    "long list": long_list,
}
