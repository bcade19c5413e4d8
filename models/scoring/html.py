"""Parse errors, canonical form, element structure and visible text of a page, without running it."""

import re
from dataclasses import dataclass, field

from models.scoring.dom import HTML, Doctype, Element, End, Page, parse, walk

SPACES = " \t\n\f\r"
"""HTML's whitespace, which excludes the no-break space."""
RUN_OF_SPACES = re.compile(f"[{SPACES}]+")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Layout in the standard's default style sheet (HTML Living Standard, section 15.3, "Non-replaced elements").
BLOCKS = _names(
    "address article aside blockquote body br caption center col colgroup dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li listing main "
    "menu nav ol optgroup option p plaintext pre search section summary table tbody td tfoot th thead tr ul xmp"
)
BOXES = _names(
    "applet audio button canvas embed iframe img input marquee math meter object progress select svg textarea video"
)
"""Inline elements whose content is laid out separately."""
HIDDEN = _names("area base datalist link meta noembed noframes param rp script source style template title track")
INLINE_IN_SVG = frozenset({"a", "textPath", "tspan"})
PREFORMATTED = _names("listing plaintext pre textarea xmp")
VERBATIM = frozenset({"script", "style"})
NOT_READ = HIDDEN | frozenset({"audio", "canvas", "head", "iframe", "noscript", "video"})
SUPPLIED = frozenset({"html", "head", "body"})


def parse_errors(html: str) -> list[str]:
    """Return the HTML5 parse errors of a whole document as html5lib's error codes, in source order, at most 1,000.

    An empty list means that the document is valid. A missing doctype is an error, as the standard says.
    A document that would take too long to check has a single error that says why: `nested-too-deep` (more than 256
    levels), `too-many-attributes` (more than 128 on one element), `too-many-elements` (more than 10,000) or
    `too-complex`. The single error `not-parsed` means that html5lib itself failed.

    html5lib is old, but reports every kind of parse error. The faster parsers that were tried left most of them out
    (unclosed elements, foster parenting, bad character references).
    """
    return parse(html).errors


def canonical_form(page: Page) -> list[object]:
    """Return a form that two pages share if and only if they mean the same to a browser that ignores style sheets.

    It ignores comments, the order of attributes, how a character is written, and what the parser supplies (optional
    tags, quotes of attributes). The doctype counts, with its identifiers, because browsers choose a rendering mode by
    it.

    Whitespace is collapsed as in CSS: a run of whitespace is one space; it is dropped at the edge of a block, before
    and after a line break, and after another space, even if an inline element starts or ends in between. So between
    inline elements, one space differs from none. Whitespace is kept as it is in `pre`, `listing`, `xmp`, `plaintext`,
    `textarea`, in values of attributes, and inside scripts and style sheets, of which only both ends are stripped. The
    page's own style sheets are not read, so their `white-space` and `display` have no effect.
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
    """Whitespace state of the current line of a block."""

    at_edge: bool = True
    """Whether a space at this point would not be shown."""
    last_space: int | None = None
    """Index of the piece that ends in a space after which nothing has been shown yet."""


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
    """Return BLOCKS, BOXES or HIDDEN, or None for an inline element."""
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
    """The elements of a page in source order. `depths` has the number of ancestors of each among these elements."""

    tags: list[str]
    depths: list[int]


def structure(page: Page) -> Structure:
    """Return all elements except `html`, `head` and `body`, which the parser adds to every page."""
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
    """Return the text that a browser shows, with each run of whitespace as one space, and stripped.

    Blocks, line breaks and boxes such as buttons separate words. Left out are the head (including the title, which is
    not shown on the page), scripts, style sheets, templates, fallback content such as `noscript`, and elements with the
    attribute `hidden`.
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
