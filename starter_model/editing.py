# ruff: noqa: E501 - a wording that is wrapped is harder to read than a long line
"""Everyday tasks that edit a page: the `input` is the page, and the output is the edited page."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from starter_model import values, vocabulary
from starter_model.composing import Draft
from starter_model.everyday import DOCTYPE, draw_habits
from starter_model.values import chance

_VERBS = ("Edit the following HTML code to {}.", "Edit the given HTML code to {}.", "Edit the following HTML to {}.", "Edit the following HTML page to {}.", "Edit the HTML document to {}.", "Modify the following HTML code to {}.", "Modify the HTML to {}.", "Change the following HTML code to {}.", "Update the HTML code to {}.", "Update the following web page to {}.", "Edit this HTML structure to {}.", "Using the given HTML code, {}.", "In the following HTML page, {}.", "Rewrite the following HTML to {}.", "{}.", "Please {}.", "Given the following HTML code, {}.")  # fmt: skip
_PLACES = ("Home", "About", "Contact", "Services", "Products", "Blog", "News", "Portfolio", "Gallery", "Shop", "FAQ", "Team")  # fmt: skip


@dataclass
class Sheet:
    """A page that is being edited: the lines of its head and body, indented by two spaces per level."""

    title: str | None
    heading: str | None
    body: list[str]
    styles: list[str] = field(default_factory=list)
    more_head: list[str] = field(default_factory=list)
    footer: list[str] = field(default_factory=list)

    def head(self) -> list[str]:
        """Return the lines of the head."""
        title = [f"<title>{self.title}</title>"] if self.title is not None else []
        style = ["<style>", *(f"  {line}" for line in self.styles), "</style>"] if self.styles else []
        return [*title, *self.more_head, *style]

    def content(self) -> list[str]:
        """Return the lines of the body."""
        heading = [self.heading] if self.heading is not None else []
        return [*heading, *self.body, *self.footer]


def _text(r: Random) -> str:
    return r.choice((values.title, values.sentence, values.title, lambda q: q.choice(("This is a paragraph.", "This is some text.", "Hello World!", "Welcome to my website!", "This is my website.", "This is an example."))))(r).replace("&", "and")  # fmt: skip


def _name(r: Random) -> str:
    return r.choice((values.title(r).replace("&", "and"), r.choice(("My Page", "My Website", "My Web Page", "Example", "Test Page", "Welcome", "My Webpage", "Home"))))  # fmt: skip


def _sheet(r: Random) -> Sheet:
    name = _name(r)
    heading = f"<h1>{r.choice((name, name, _text(r)))}</h1>" if chance(r, 0.6) else None
    body: list[str] = []
    for _ in range(r.choice((0, 0, 1, 1, 1, 2, 3))):
        body += r.choice((
            lambda: [f"<p>{_text(r)}</p>"], lambda: [f"<p>{_text(r)}</p>"], lambda: [f"<h2>{_text(r)}</h2>"],
            lambda: ["<ul>", *(f"  <li>{one}</li>" for one in values.items(r, 2, 4)), "</ul>"],
            lambda: ["<div>", f"  <p>{_text(r)}</p>", "</div>"], lambda: [f'<a href="{values.link(r)}">{_text(r)}</a>'],
            lambda: [f'<button type="button">{_text(r)}</button>'], lambda: [_text(r)],
        ))()  # fmt: skip
    return Sheet(
        name if chance(r, 0.85) else None,
        heading,
        [one.replace("&", "&amp;") if "&amp;" not in one else one for one in body],
    )


def _rule(sheet: Sheet, selector: str, *declarations: str) -> None:
    sheet.styles += [f"{selector} {{", *(f"  {one};" for one in declarations), "}"]


Edit = Callable[[Random, Sheet], tuple[str, ...] | None]
"""Changes the sheet and returns wordings of the change for `_VERBS`, or None if the sheet has nothing to change."""


def _add_list(r: Random, sheet: Sheet) -> tuple[str, ...]:
    kind, tag = r.choice((("an ordered", "ol"), ("an unordered", "ul")))
    if chance(r, 0.5):
        count = r.randint(2, 6)
        items, wordings = [f"{r.choice(('Item', 'List Item', 'Item'))} {place}" for place in range(1, count + 1)], (f"add {kind} list with {count} items", f"include {kind} list of {count} list items", f"add {kind} list inside the body with {count} list items")  # fmt: skip
    else:
        items = values.items(r, 2, 5)
        listed = ", ".join(items)
        wordings = (f"add {kind} list with the items {listed}", f"add {kind} list of {listed}", f"include {kind} list with these items: {listed}")  # fmt: skip
    sheet.body += [f"<{tag}>", *(f"  <li>{one}</li>" for one in items), f"</{tag}>"]
    return wordings


def _add_paragraph(r: Random, sheet: Sheet) -> tuple[str, ...]:
    text = _text(r)
    sheet.body.append(f"<p>{text}</p>")
    return f'add a paragraph with the text "{text}"', f'add a paragraph that says "{text}"', f'include a paragraph element saying "{text}"'  # fmt: skip


def _add_heading(r: Random, sheet: Sheet) -> tuple[str, ...] | None:
    if sheet.heading is not None:
        return None
    text = _text(r)
    sheet.heading = f"<h1>{text}</h1>"
    return (
        f'add a heading with the text "{text}"',
        f'add an h1 heading "{text}"',
        f'include a header that says "{text}"',
    )


def _change_heading(r: Random, sheet: Sheet) -> tuple[str, ...] | None:
    if sheet.heading is None:
        return None
    text = _text(r)
    sheet.heading = f"<h1>{text}</h1>"
    return (
        f'change the heading to "{text}"',
        f'replace the text of the heading with "{text}"',
        f'make the h1 say "{text}"',
    )


def _title(r: Random, sheet: Sheet) -> tuple[str, ...]:
    text, had = _name(r), sheet.title is not None
    sheet.title = text
    if had:
        return (
            f'change the title to "{text}"',
            f'set the title of the page to "{text}"',
            f'replace the title with "{text}"',
        )
    return f'add the title "{text}"', f'add a title tag that says "{text}"', f'give the page the title "{text}"'


def _footer(r: Random, sheet: Sheet) -> tuple[str, ...]:
    text = r.choice((f"Copyright &copy; {r.randrange(2015, 2030)}", "This is the footer.", f"&copy; {r.randrange(2015, 2030)} {_name(r)}", _text(r)))  # fmt: skip
    sheet.footer = ["<footer>", f"  <p>{text}</p>", "</footer>"]
    plain = text.replace("&copy;", "©")
    return f'add a footer with the text "{plain}"', f'add a footer at the bottom that says "{plain}"', f'include a footer section with "{plain}"'  # fmt: skip


def _plain_footer(r: Random, sheet: Sheet) -> tuple[str, ...]:
    sheet.footer = ["<footer>", "  <p>This is the footer.</p>", "</footer>"]
    return "add a footer", "add a footer at the bottom", "include a footer section", "add a footer to the page"


def _navigation(r: Random, sheet: Sheet) -> tuple[str, ...]:
    names = r.sample(_PLACES, r.randint(2, 5)) if chance(r, 0.6) else ["Home", "About", "Contact"]
    links = [f'    <li><a href="#">{name}</a></li>' for name in names]
    heading = [sheet.heading] if sheet.heading is not None else []
    sheet.body[:0] = ["<nav>", "  <ul>", *links, "  </ul>", "</nav>", *heading]
    sheet.heading = None
    if names == ["Home", "About", "Contact"]:
        return "add a navigation bar", "add a navigation bar to the top of the page", "include a nav with three links"
    return f"add a navigation bar with the links {', '.join(names)}", f"add a nav with {', '.join(names)}"


def _link(r: Random, sheet: Sheet) -> tuple[str, ...]:
    address, text = values.url(r), r.choice(("Link", "Click here", "Visit our site", _name(r)))
    sheet.body.append(f'<a href="{address}">{text}</a>')
    return f'add a link to {address} with the text "{text}"', f'add a hyperlink "{text}" that leads to {address}'


def _plain_link(r: Random, sheet: Sheet) -> tuple[str, ...]:
    sheet.body.append('<a href="https://www.example.com">Link</a>')
    return "add a new link", "add a link to an external website", "include a hyperlink"


def _button(r: Random, sheet: Sheet) -> tuple[str, ...]:
    text = r.choice(("Click Me", "Submit", "Click me!", "Send", _name(r)))
    sheet.body.append(f"<button>{text}</button>")
    return f'add a button with the text "{text}"', f'add a button that says "{text}"', f'include a "{text}" button'


def _image(r: Random, sheet: Sheet) -> tuple[str, ...]:
    source, text = values.file(r, ("jpg", "png", "gif")), r.choice(("Image", _name(r)))
    sheet.body.append(f'<img src="{source}" alt="{text}">')
    return f'add the image {source} with the alt text "{text}"', f'include an image from {source} with alt="{text}"'


def _table(r: Random, sheet: Sheet) -> tuple[str, ...]:
    names = r.sample(("Name", "Age", "City", "Email", "Price", "Country", "Date", "Phone", "Product", "Score"), r.randint(2, 4))  # fmt: skip
    sheet.body += ["<table>", "  <tr>", *(f"    <th>{one}</th>" for one in names), "  </tr>", "</table>"]
    return f"add a table with the columns {', '.join(names)}", f"add a table with the headers {', '.join(names)}"


def _field(r: Random, sheet: Sheet) -> tuple[str, ...]:
    name = r.choice(("Name", "Email", "Age", "Phone", "Address", "Message", "Username", "City", "Subject", "Country"))
    low, kind = name.lower(), "email" if name == "Email" else "text"
    sheet.body += ["<form>", f'  <label for="{low}">{name}:</label>', f'  <input type="{kind}" id="{low}" name="{low}">', "</form>"]  # fmt: skip
    return f"add a form with an input for the user's {low}", f"include a form tag with a field for the {low}", f"add a form field for {low}"  # fmt: skip


def _background(r: Random, sheet: Sheet) -> tuple[str, ...]:
    shade = values.colour(r)
    _rule(sheet, "body", f"background-color: {shade}")
    return f"set the background color of the page to {shade}", f"make the background {shade}", f"add a CSS style that changes the background color to {shade}", f"have a {shade} background"  # fmt: skip


def _colour(r: Random, sheet: Sheet) -> tuple[str, ...]:
    shade, (selector, name) = values.colour(r), r.choice((("h1", "heading"), ("p", "paragraphs"), ("body", "text")))
    _rule(sheet, selector, f"color: {shade}")
    return f"make the {name} {shade}", f"change the color of the {name} to {shade}", f"add a style so that the {name} appear in {shade}"  # fmt: skip


def _font(r: Random, sheet: Sheet) -> tuple[str, ...]:
    font = r.choice(vocabulary.FONTS)
    _rule(sheet, "body", f"font-family: {font}")
    return f"change the font of the page to {font}", f"use the font {font}", f"set the font family to {font}"


def _centre(r: Random, sheet: Sheet) -> tuple[str, ...]:
    _rule(sheet, "body", "text-align: center")
    return "center the text", "center the content", "make all the text centered"


def _wrap(r: Random, sheet: Sheet) -> tuple[str, ...] | None:
    spots = [place for place, line in enumerate(sheet.body) if line.startswith("<p>")]
    if len(spots) != 1:
        return None
    tag, words = r.choice((("b", ("bold", "appear in bold")), ("strong", ("strong",)), ("i", ("italic", "appear in italics")), ("u", ("underlined",))))  # fmt: skip
    line = sheet.body[spots[0]]
    sheet.body[spots[0]] = f"<p><{tag}>{line[3:-4]}</{tag}></p>"
    return f"make the paragraph {words[0]}", f"make the text of the paragraph {words[-1].replace('appear in ', '')}"


def _bootstrap(r: Random, sheet: Sheet) -> tuple[str, ...]:
    version = r.choice(("4.5.2", "5.3.0", "4.0.0", "3.4.1"))
    sheet.more_head.append(f'<link rel="stylesheet" href="https://maxcdn.bootstrapcdn.com/bootstrap/{version}/css/bootstrap.min.css">')  # fmt: skip
    return f"include Bootstrap {version}", f"add the Bootstrap {version} stylesheet", f"link to Bootstrap {version}"


def _stylesheet(r: Random, sheet: Sheet) -> tuple[str, ...]:
    name = r.choice(("style.css", "styles.css", "main.css", values.file(r, ("css",))))
    sheet.more_head.append(f'<link rel="stylesheet" href="{name}">')
    return f"link the stylesheet {name}", f"include an external CSS file called {name}", f"add a link to {name}"


def _script(r: Random, sheet: Sheet) -> tuple[str, ...]:
    text = _text(r).replace('"', "").replace("'", "")
    sheet.footer = ["<script>", f'  alert("{text}");', "</script>"]
    return f'show an alert with "{text}"', f'add a script that alerts "{text}" when the page is loaded'


def _viewport(r: Random, sheet: Sheet) -> tuple[str, ...]:
    sheet.more_head.append('<meta name="viewport" content="width=device-width, initial-scale=1.0">')
    return "make it responsive with a viewport meta tag", "add a viewport meta tag", "include the viewport meta tag"


EDITS: tuple[Edit, ...] = (
    _add_list, _add_paragraph, _add_paragraph, _add_heading, _change_heading, _title, _title, _footer, _plain_footer, _navigation, _link,
    _plain_link, _button, _image, _table, _field, _background, _background, _colour, _font, _centre, _wrap, _bootstrap, _stylesheet,
    _script, _viewport,
)  # fmt: skip


def _repair(r: Random, lines: list[str]) -> tuple[str, list[str]] | None:
    """Put a fault into a page, and return a request to repair it and the broken lines."""
    closing = [place for place, line in enumerate(lines) if line.strip().startswith("</") or "</" in line]
    if not closing:
        return None
    place = r.choice(closing)
    line, broken = lines[place], list(lines)
    cut = line.rindex("</")
    name = line[cut + 2 : line.index(">", cut)]
    if chance(r, 0.5):
        broken[place] = line[:cut] + line[line.index(">", cut) + 1 :]
        broken = [one for one in broken if one.strip()]
        instruction = r.choice((f"Add the missing </{name}> tag to the HTML code.", "Fix the HTML code.", "Fix the error in the following HTML code.", "Close the tags that are not closed in this HTML.", "Correct the syntax error in the following HTML.", "The following HTML lacks a closing tag. Add it.", "Correct the HTML so that it is valid."))  # fmt: skip
    else:
        wrong = r.choice((name[:-1] or "x", name + name[-1], name + "x"))
        broken[place] = line[:cut] + f"</{wrong}>" + line[line.index(">", cut) + 1 :]
        instruction = r.choice(("Fix the HTML code.", "Find and fix the mistake in this HTML.", "Correct the following HTML code.", "Fix the error in the given HTML page.", "One tag of the HTML code is misspelt. Correct it.", "Correct the syntax error in the following HTML structure."))  # fmt: skip
    return instruction, broken


def _tidy(r: Random, lines: list[str]) -> tuple[str, list[str]]:
    instruction = r.choice(("Format the following HTML code.", "Reformat the HTML code to make it better readable.", "Indent the following HTML properly.", "Make this HTML easier to read.", "Format the HTML so that every tag is on its own line.", "Pretty print this HTML."))  # fmt: skip
    return instruction, ["".join(line.strip() for line in lines)]


def editing(r: Random) -> Draft:
    """A page and a request to edit, repair or reformat it."""
    sheet, habits = _sheet(r), draw_habits(r, usual=0.3)
    fragment = bool(sheet.body) and chance(r, 0.15)

    def shown() -> list[str]:
        if fragment:
            part = ["<div>", *(f"  {line}" for line in sheet.content()), "</div>"]
            return habits.indented([DOCTYPE, *part]).split("\n")
        return habits.document(sheet.head(), sheet.content()).split("\n")

    before = shown()
    # The answer has a doctype even if the page in the request has none.
    given = before[1:] if fragment or chance(r, 0.5) else before
    if chance(r, 0.2):
        damaged = _repair(r, given) if chance(r, 0.7) else _tidy(r, given)
        if damaged is not None:
            return Draft(damaged[0], "\n".join(damaged[1]), "\n".join(before))
    wordings = None
    while wordings is None:
        edit = r.choice(EDITS)
        if fragment and edit in (_title, _background, _colour, _font, _centre, _bootstrap, _stylesheet, _viewport):
            continue
        wordings = edit(r, sheet)
    instruction = r.choice(_VERBS).format(r.choice(wordings))
    return Draft(values.capital(instruction), "\n".join(given), "\n".join(shown()))
