"""What can be said about a page without running it."""

import re
from dataclasses import dataclass, field

from models.scoring.dom import HTML, Doctype, Element, End, Page, parse, walk

SPACES = " \t\n\f\r"
"""HTML's own whitespace; a no-break space is not of it."""
RUN_OF_SPACES = re.compile(f"[{SPACES}]+")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# How the standard's own style sheet lays elements out (HTML Living Standard, section 15.3, "Non-replaced elements").
BLOCKS = _names(
    "address article aside blockquote body br caption center col colgroup dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li listing main "
    "menu nav ol optgroup option p plaintext pre search section summary table tbody td tfoot th thead tr ul xmp"
)
BOXES = _names(
    "applet audio button canvas embed iframe img input marquee math meter object progress select svg textarea video"
)
"""On a line like a letter, with a content of their own."""
HIDDEN = _names("area base datalist link meta noembed noframes param rp script source style template title track")
INLINE_IN_SVG = frozenset({"a", "textPath", "tspan"})
PREFORMATTED = _names("listing plaintext pre textarea xmp")
VERBATIM = frozenset({"script", "style"})
NOT_READ = HIDDEN | frozenset({"audio", "canvas", "head", "iframe", "noscript", "video"})
SUPPLIED = frozenset({"html", "head", "body"})


def parse_errors(html: str) -> list[str]:
    """The HTML5 parse errors of a whole document, in source order, as html5lib's error codes; at most 1,000.

    An empty list means valid. A document without a doctype has an error too: the standard asks for one.
    A document that would take too long to check has one error, which says why: `nested-too-deep` (beyond 256
    elements), `too-many-attributes` (beyond 128 of one element), `too-many-elements` (beyond 10,000), `too-complex`;
    or `not-parsed`, if html5lib itself failed.

    html5lib, though old, reports every kind of parse error; the faster parsers tried left most of them out
    (unclosed elements, foster parenting, bad character references).
    """
    return parse(html).errors


def canonical_form(page: Page) -> list[object]:
    """What is equal for two pages exactly if they mean the same to a browser that has only its own style sheet.

    The order of attributes does not count, nor how a character is written, what the parser supplies (optional tags,
    the quotes of attributes) or a comment. The doctype counts, with its identifiers: browsers choose a mode by it.

    Whitespace counts as CSS has it. A run of it is one space. There is none at the edge of a block, before or after a
    line break, or after another space, even if an inline element begins or ends in between. So between inline elements
    one space differs from none. In `pre`, `listing`, `xmp`, `plaintext` and `textarea` it counts as it is, in scripts
    and style sheets too except around them, and in the values of attributes. No style sheet is looked at: one that
    sets `white-space` or `display` changes none of this.
    """
    writer = _CanonicalWriter()
    for child in page.document.children:
        if isinstance(child, Doctype):
            writer.pieces.append(("doctype", child.name, child.public, child.system))
    for event in walk(page.document):
        if isinstance(event, str):
            writer.text(event)
        elif isinstance(event, End):
            writer.end(event.element)
        else:
            writer.start(event)
    return [piece for piece in writer.pieces if piece != ""]


@dataclass
class _Line:
    """What decides on whitespace in the block that is written."""

    at_edge: bool = True
    """A space here would not be shown."""
    last_space: int | None = None
    """The text that ends in a space with nothing shown after it yet."""


@dataclass
class _CanonicalWriter:
    pieces: list[object] = field(default_factory=list)
    lines: list[_Line] = field(default_factory=lambda: [_Line()])
    preformatted: int = 0
    verbatim: int = 0

    def start(self, element: Element) -> None:
        layout = _layout(element)
        if layout is BLOCKS:
            self._break_line()
        elif layout is BOXES:
            self.lines[-1] = _Line(at_edge=False)
        attributes = tuple(sorted((_attribute_name(name), value) for name, value in element.attributes.items()))
        self.pieces.append((element.tag, attributes))
        if layout is BOXES or layout is HIDDEN:
            self.lines.append(_Line())
        self.preformatted += element.name in PREFORMATTED
        self.verbatim += element.name in VERBATIM

    def end(self, element: Element) -> None:
        layout = _layout(element)
        if layout is not None:
            self._break_line()
        if layout is BOXES or layout is HIDDEN:
            self.lines.pop()
        self.pieces.append(None)
        self.preformatted -= element.name in PREFORMATTED
        self.verbatim -= element.name in VERBATIM

    def text(self, text: str) -> None:
        if self.verbatim:
            self.pieces.append(text.strip(SPACES))
            return
        line = self.lines[-1]
        if self.preformatted:
            self.pieces.append(text)
            self.lines[-1] = _Line(at_edge=False)
            return
        text = RUN_OF_SPACES.sub(" ", text)
        if line.at_edge:
            text = text.removeprefix(" ")
        if not text:
            return
        line.at_edge = text.endswith(" ")
        line.last_space = len(self.pieces) if line.at_edge else None
        self.pieces.append(text)

    def _break_line(self) -> None:
        last_space = self.lines[-1].last_space
        if last_space is not None:
            text = self.pieces[last_space]
            assert isinstance(text, str)
            self.pieces[last_space] = text.removesuffix(" ")
        self.lines[-1] = _Line()


def _layout(element: Element) -> frozenset[str] | None:
    """BLOCKS, BOXES, HIDDEN, or None for an element that is part of its line."""
    if element.name in BOXES:
        return BOXES
    if element.namespace != HTML:
        return None if element.name in INLINE_IN_SVG else BLOCKS
    if element.name in HIDDEN:
        return HIDDEN
    return BLOCKS if element.name in BLOCKS else None


def _attribute_name(name: str | tuple[str | None, str, str]) -> str:
    if isinstance(name, str):
        return name
    prefix, local, _ = name
    return f"{prefix}:{local}" if prefix else local


@dataclass(frozen=True)
class Structure:
    """The elements of a page in source order: their tags, and how many of these elements each is in."""

    tags: list[str]
    depths: list[int]


def structure(page: Page) -> Structure:
    """The elements without `html`, `head` and `body`, which every page has, and which the parser supplies."""
    tags: list[str] = []
    depths: list[int] = []
    depth = 0
    for event in walk(page.document):
        if isinstance(event, End):
            depth -= event.element.tag not in SUPPLIED
        elif isinstance(event, Element) and event.tag not in SUPPLIED:
            tags.append(event.tag)
            depths.append(depth)
            depth += 1
    return Structure(tags, depths)


def visible_text(page: Page) -> str:
    """The text that a browser shows, with every run of whitespace as one space and none around it.

    Blocks, line breaks and boxes such as a button part words. Without the head (so without the title, which is not on
    the page), scripts, style sheets, templates, what is shown only where something else can't be, and elements that
    have the attribute `hidden`.
    """
    parts: list[str] = []
    hidden = 0
    for event in walk(page.document):
        if isinstance(event, str):
            parts.append("" if hidden else event)
            continue
        element = event.element if isinstance(event, End) else event
        if _is_hidden(element):
            hidden += -1 if isinstance(event, End) else 1
        elif not hidden and _layout(element) is not None:
            parts.append(" ")
    return RUN_OF_SPACES.sub(" ", "".join(parts)).strip(SPACES)


def _is_hidden(element: Element) -> bool:
    return "hidden" in element.attributes or (element.namespace == HTML and element.name in NOT_READ)
