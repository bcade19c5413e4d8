"""Parse a page as a browser does, within limits, and list its parse errors.

The parser is html5lib, in pure Python: it reports every kind of parse error, and this module can bound its work. (Of
the parsers in C, the one that builds the standard's tree took up to 8 seconds and 3 GB for 200 kB of hostile tags.)

This is the only module that imports html5lib. It overrides the private `html5lib._tokenizer.HTMLTokenizer`, the main
loop's set-up and the tree builder of html5lib 1.1; `tests/models/scoring/test_dom.py` compares trees and errors with
html5lib's own, and `pyproject.toml` bounds the version.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from html5lib import HTMLParser
from html5lib._tokenizer import HTMLTokenizer
from html5lib.constants import entities, namespaces, tableInsertModeElements, tokenTypes
from html5lib.treebuilders.base import Node as Base
from html5lib.treebuilders.base import TreeBuilder

MAX_DEPTH = 256
MAX_ATTRIBUTES = 128
MAX_NODES = 10_000
MAX_ERRORS = 1_000
MAX_WORK = 1_200_000
"""Limit on the sum, over all tokens, of the open elements plus TOKEN_WORK. For most tokens html5lib searches the open
elements."""
TOKEN_WORK = 10
MAX_COPIED = 2_000_000_000
"""Limit on the characters copied for one token. For each piece that it appends to a tag or a comment, html5lib copies
the text so far."""

LONG_NUMBER = re.compile("&#([0-9]{4000,})")
"""Python's int() refuses more than 4,300 digits, and html5lib does not catch its error."""

ALPHANUMERICS = re.compile("[0-9A-Za-z]+")

HTML = namespaces["html"]
PREFIXES = {namespaces["svg"]: "svg ", namespaces["mathml"]: "math "}


class Comment(Base):
    """A comment. Its text is dropped, but html5lib needs the node in the tree."""

    def __init__(self, data: str) -> None:
        self.parent: Element | None = None


class Doctype(Base):
    def __init__(self, name: str | None, public: str | None, system: str | None) -> None:
        self.name, self.public, self.system = name or "", public or "", system or ""
        self.parent: Element | None = None


class Element(Base):
    """An element. Adjacent strings in `children` are pieces of one text.

    `attributes` maps names to values. The name of an attribute that the standard adjusts in SVG or MathML is a tuple of
    prefix, local name and namespace.
    """

    def __init__(self, name: str, namespace: str | None = None) -> None:
        self.name = name
        self.namespace = namespace
        self.nameTuple = (namespace, name)
        self.parent: Element | None = None
        self.attributes: dict[Any, str] = {}
        self.children: list[Element | Comment | Doctype | str] = []

    @property
    def tag(self) -> str:
        """The name, with the prefix `svg ` or `math ` for an element of SVG or MathML."""
        return PREFIXES.get(self.namespace or HTML, "") + self.name

    def appendChild(self, node: "Element") -> None:
        node.parent = self
        self.children.append(node)

    def insertBefore(self, node: "Element", refNode: "Element") -> None:
        node.parent = self
        self.children.insert(self._position(refNode), node)

    def insertText(self, data: str, insertBefore: "Element | None" = None) -> None:
        if insertBefore is None:
            self.children.append(data)
        else:
            self.children.insert(self._position(insertBefore), data)

    def removeChild(self, node: "Element") -> None:
        del self.children[self._position(node)]
        node.parent = None

    def reparentChildren(self, newParent: "Element") -> None:
        for child in self.children:
            if not isinstance(child, str):
                child.parent = newParent
        newParent.children += self.children
        self.children = []

    def cloneNode(self) -> "Element":
        clone = Element(self.name, self.namespace)
        clone.attributes = dict(self.attributes)
        return clone

    def hasContent(self) -> bool:
        return bool(self.children)

    def _position(self, node: "Element") -> int:
        # Search from the end: the parser nearly always moves, or inserts before, one of the last children.
        for position in range(len(self.children) - 1, -1, -1):
            if self.children[position] is node:
                return position
        raise ValueError("the node is not a child of this element")


@dataclass(frozen=True)
class Page:
    """A parsed page. `errors` are html5lib's error codes in source order, at most MAX_ERRORS.

    `complete` is false for a page beyond the limits, and for one on which html5lib fails. Then `errors` is a single
    code that names the limit, or `not-parsed`, and the tree holds the part before that point.
    """

    document: Element
    errors: list[str]
    complete: bool


def parse(html: str) -> Page:
    """Parse any text as a whole document by the rules of the HTML standard.

    Takes less than a second for any text of up to 200,000 characters, and never raises.
    """
    parser = _Parser(_Builder)
    try:
        # Eight digits are already beyond the last Unicode character.
        parser.read(LONG_NUMBER.sub(lambda match: f"&#{match[1].lstrip('0')[:8] or 0}", html))
    except _BeyondLimit as beyond:
        return Page(parser.tree.document, [beyond.code], complete=False)
    except Exception:
        # An assertion inside html5lib fails for about one in 100,000 random texts of tags.
        return Page(parser.tree.document, ["not-parsed"], complete=False)
    return Page(parser.tree.document, [code for _, code, _ in parser.errors], complete=True)


class End(NamedTuple):
    element: Element


def walk(document: Element) -> Iterator[Element | End | str]:
    """Yield each element below `document` in source order, then its content, then its End. Each text is one string.

    Comments and the doctype are left out. The walk does not recurse, so depth is not limited.
    """
    text: list[str] = []
    open_elements = [(document, iter(document.children))]
    while open_elements:
        element, children = open_elements[-1]
        child = next(children, None)
        if isinstance(child, str):
            text.append(child)
            continue
        if text and not isinstance(child, Comment):
            yield "".join(text)
            text.clear()
        if isinstance(child, Element):
            yield child
            open_elements.append((child, iter(child.children)))
        elif child is None:
            open_elements.pop()
            if open_elements:
                yield End(element)


class _BeyondLimit(Exception):
    def __init__(self, code: str) -> None:
        self.code = code


class _Builder(TreeBuilder):
    documentClass = staticmethod(lambda: Element("#document"))
    commentClass = Comment
    doctypeClass = Doctype

    parser: HTMLParser

    def reset(self) -> None:
        self.nodes = 0
        super().reset()

    def insertText(self, data: str, parent: Element | None = None) -> None:
        # html5lib reports an element that does not belong in a table, but not a text that does not belong there.
        if parent is None and self.insertFromTable and self.openElements[-1].name in tableInsertModeElements:
            self.parser.parseError("unexpected-char-implies-table-voodoo")
        super().insertText(data, parent)

    def elementClass(self, name: str, namespace: str | None) -> Element:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _BeyondLimit("too-many-elements")
        if len(self.openElements) > MAX_DEPTH:
            raise _BeyondLimit("nested-too-deep")
        return Element(name, namespace)


class _Tokenizer(HTMLTokenizer):
    def __init__(self, html: str, parser: HTMLParser) -> None:
        super().__init__(html, parser=parser)
        self._max_steps = MAX_COPIED // (len(html) + 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.tokenQueue: deque[dict[str, Any]] = deque()
        error = tokenTypes["ParseError"]
        work = steps = 0
        while self.state():
            steps += 1
            if steps > self._max_steps:
                raise _BeyondLimit("too-complex")
            if self.stream.errors:
                codes, self.stream.errors = self.stream.errors, []
                yield from ({"type": error, "data": code} for code in codes)
            while self.tokenQueue:
                token = self.tokenQueue.popleft()
                if token["type"] != error:
                    steps = 0
                    work += TOKEN_WORK + len(self.parser.tree.openElements)
                    if work > MAX_WORK:
                        raise _BeyondLimit("too-complex")
                yield token

    def consumeEntity(self, allowedChar: str | None = None, fromAttribute: bool = False) -> None:
        # html5lib follows the standard of 2011. Today's standard allows an ampersand where no character reference can
        # be meant, as in `AT&T` or `?a&b=1`.
        run = ALPHANUMERICS.match(self.stream.chunk, self.stream.chunkOffset)
        name, follower = (run[0], run.string[run.end() : run.end() + 1]) if run else ("", "")
        queued = len(self.tokenQueue)
        super().consumeEntity(allowedChar, fromAttribute)
        if name and follower != ";" and queued < len(self.tokenQueue):
            code = self.tokenQueue[queued].get("data")
            literal = fromAttribute and (follower == "=" or name not in entities)
            if code == "expected-named-entity" or (code == "named-entity-without-semicolon" and literal):
                del self.tokenQueue[queued]

    def attributeNameState(self) -> bool:
        if len(self.currentToken["data"]) > MAX_ATTRIBUTES:
            raise _BeyondLimit("too-many-attributes")
        return super().attributeNameState()


class _Parser(HTMLParser):
    def read(self, html: str) -> None:
        """Do what `HTMLParser.parse` does, with the tokenizer of this module."""
        self.innerHTMLMode = self.scripting = False
        self.tree.parser = self
        self.tokenizer = _Tokenizer(html, self)
        self.reset()
        self.mainLoop()

    def parseError(self, errorcode: str = "XXX-undefined-error", datavars: Any = None) -> None:
        # Leaves out the position, because html5lib counts all lines again for each error.
        if len(self.errors) < MAX_ERRORS:
            self.errors.append((None, errorcode, datavars))
