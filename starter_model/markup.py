"""Build HTML as lists of lines, indented by two spaces."""

import re
from collections.abc import Sequence

VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "source"})


def escape(text: str) -> str:
    """Return the text escaped for use between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def tag(name: str, /, **attributes: str | bool) -> str:
    """Return a start tag. In attribute names a trailing underscore is dropped (`class_`), others become hyphens.

    The value True gives an attribute without a value, and False no attribute.
    """
    text = name
    for key, value in attributes.items():
        shown = key.rstrip("_").replace("_", "-")
        if value is True:
            text += f" {shown}"
        elif value is not False:
            quoted = value.replace("&", "&amp;").replace('"', "&quot;")
            text += f' {shown}="{quoted}"'
    return f"<{text}>"


def line(name: str, text: str = "", /, **attributes: str | bool) -> str:
    """Return an element on one line with escaped text. A void element gets no text."""
    return raw(name, escape(text), **attributes)


def raw(name: str, html: str = "", /, **attributes: str | bool) -> str:
    """Return an element on one line whose content is HTML."""
    return tag(name, **attributes) + ("" if name in VOID else f"{html}</{name}>")


def indent(lines: Sequence[str], depth: int = 1) -> list[str]:
    """Return the lines indented by `depth` levels."""
    return ["  " * depth + text for text in lines]


def block(name: str, lines: Sequence[str], /, **attributes: str | bool) -> list[str]:
    """Return the lines of an element with indented content."""
    return [tag(name, **attributes), *indent(lines), f"</{name}>"]


def rule(selector: str, /, **properties: str) -> list[str]:
    """Return the lines of a CSS rule. Underscores in property names become hyphens."""
    body = [f"{key.replace('_', '-')}: {value};" for key, value in properties.items()]
    return [f"{selector} {{", *indent(body), "}"]


def page(
    title: str,
    body: Sequence[str],
    style: Sequence[str] = (),
    script: Sequence[str] = (),
    meta: Sequence[str] = (),
    inline: str = "",
) -> str:
    """Return a whole document: a head with charset, title, `meta` and `style`; a body with the script at its end.

    `inline` is the value of the body's style attribute.
    """
    head = ['<meta charset="utf-8">', line("title", title), *meta]
    if style:
        head += block("style", style)
    content = [*body, *(block("script", script) if script else [])]
    shown = block("body", content, style=inline or False)
    root = block("html", [*block("head", head), *shown], lang="en")
    return "\n".join(["<!DOCTYPE html>", *root])


def slug(text: str) -> str:
    """Return the text as an id in lower case, with hyphens between words."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
