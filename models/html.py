"""What can be said about a page without running it."""

import html5lib


def parse_errors(html: str) -> list[str]:
    """The HTML5 parse errors of a whole document, in source order, as html5lib's error codes.

    An empty list means valid. A document without a doctype has an error too: the standard asks for one.
    html5lib, though old, reports every kind of parse error; the faster parsers tried left most of them out
    (unclosed elements, foster parenting, bad character references).
    """
    parser = html5lib.HTMLParser()
    parser.parse(html)
    return [code for _, code, _ in parser.errors]
