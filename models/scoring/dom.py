"""A page as a browser's parser would read it, and what that parser found wrong.

html5lib parses, in Python: it reports every kind of parse error, and its work can be bounded from here. (Of the
parsers in C, the one that builds the standard's tree took up to 8 seconds and 3 GB for 200 kB of hostile tags.)
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
"""Over all tokens, the elements that are open and a constant: html5lib looks through the open ones for most tokens."""
TOKEN_WORK = 10
MAX_COPIED = 2_000_000_000
"""Characters, for one token: html5lib copies what it has of a tag or a comment for each piece that it adds."""

LONG_NUMBER = re.compile("&#([0-9]{4000,})")
"""Python makes no number of more than 4,300 digits, which html5lib does not know."""

ALPHANUMERICS = re.compile("[0-9A-Za-z]+")

HTML = namespaces["html"]
PREFIXES = {namespaces["svg"]: "svg ", namespaces["mathml"]: "math "}


class Comment(Base):
    """Kept by the parser's rules; nothing here looks into it."""

    def __init__(self, data: str) -> None:
        self.parent: Element | None = None


class Doctype(Base):
    def __init__(self, name: str | None, public: str | None, system: str | None) -> None:
        self.name, self.public, self.system = name or "", public or "", system or ""
        self.parent: Element | None = None


class Element(Base):
    """`children` has the text as it came, in pieces: two neighbouring strings are one text.

    `attributes` maps the names in the source to values; an adjusted foreign attribute's name is a triple.
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
        """The name; of an element in SVG or MathML with `svg ` or `math ` before it."""
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
        # from the end: what the parser moves, or puts something before, is the newest but for a few
        for position in range(len(self.children) - 1, -1, -1):
            if self.children[position] is node:
                return position
        raise ValueError("no child of this element")


@dataclass(frozen=True)
class Page:
    """`errors` are html5lib's codes in source order, at most MAX_ERRORS.

    A page beyond the limits, or one that html5lib fails on, has one error, which says so, and `complete` is false: its
    tree ends there.
    """

    document: Element
    errors: list[str]
    complete: bool


def parse(html: str) -> Page:
    """The tree of a whole document by the HTML standard's rules, and its parse errors. Every text is a document.

    Takes a bounded time, below a second, whatever the text. Raises nothing.
    """
    parser = _Parser(_Builder)
    try:
        # eight digits are past the last character already
        parser.read(LONG_NUMBER.sub(lambda found: f"&#{found[1].lstrip('0')[:8] or 0}", html))
    except _BeyondLimit as beyond:
        return Page(parser.tree.document, [beyond.code], complete=False)
    except Exception:
        # html5lib has assertions that fail for one text of tag soup in a hundred thousand
        return Page(parser.tree.document, ["not-parsed"], complete=False)
    return Page(parser.tree.document, [code for _, code, _ in parser.errors], complete=True)


class End(NamedTuple):
    element: Element


def walk(document: Element) -> Iterator[Element | End | str]:
    """Each element below `document`, in source order, then what is in it, and its End. Each text is in one piece.

    Comments and the doctype are left out. Without recursion, so any depth will do.
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
        # html5lib reports an element that does not belong in a table, and forgets to report text
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
                found, self.stream.errors = self.stream.errors, []
                yield from ({"type": error, "data": code} for code in found)
            while self.tokenQueue:
                token = self.tokenQueue.popleft()
                if token["type"] != error:
                    steps = 0
                    work += TOKEN_WORK + len(self.parser.tree.openElements)
                    if work > MAX_WORK:
                        raise _BeyondLimit("too-complex")
                yield token

    def consumeEntity(self, allowedChar: str | None = None, fromAttribute: bool = False) -> None:
        # html5lib's standard is of 2011; today's lets an ampersand be one where no reference can be meant: AT&T, ?a&b=1
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
        """`parse`, with a tokenizer of our own."""
        self.innerHTMLMode = self.scripting = False
        self.tree.parser = self
        self.tokenizer = _Tokenizer(html, self)
        self.reset()
        self.mainLoop()

    def parseError(self, errorcode: str = "XXX-undefined-error", datavars: Any = None) -> None:
        # without the position, which html5lib finds by counting lines each time
        if len(self.errors) < MAX_ERRORS:
            self.errors.append((None, errorcode, datavars))
