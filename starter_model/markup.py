"""Write HTML as lists of lines, indented by two spaces."""

import re
from collections.abc import Sequence

VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "source"})


def escape(text: str) -> str:
    """Text as it stands between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def tag(name: str, /, **attributes: str | bool) -> str:
    """An opening tag. A trailing underscore is dropped (`class_`), other underscores become hyphens.

    True gives a bare attribute and False none.
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
    """An element on one line. Its text is escaped; a void element has none."""
    return raw(name, escape(text), **attributes)


def raw(name: str, html: str = "", /, **attributes: str | bool) -> str:
    """An element on one line whose content is HTML already."""
    return tag(name, **attributes) + ("" if name in VOID else f"{html}</{name}>")


def indent(lines: Sequence[str], depth: int = 1) -> list[str]:
    """The lines moved to the right."""
    return ["  " * depth + text for text in lines]


def block(name: str, lines: Sequence[str], /, **attributes: str | bool) -> list[str]:
    """An element over several lines, its content indented."""
    return [tag(name, **attributes), *indent(lines), f"</{name}>"]


def rule(selector: str, /, **properties: str) -> list[str]:
    """A CSS rule over several lines; underscores in the properties' names become hyphens."""
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
    """The whole document: head with charset, title, more metadata and style; body, with the script at its end.

    `inline` is the body's style attribute.
    """
    head = ['<meta charset="utf-8">', line("title", title), *meta]
    if style:
        head += block("style", style)
    content = [*body, *(block("script", script) if script else [])]
    shown = block("body", content, style=inline or False)
    root = block("html", [*block("head", head), *shown], lang="en")
    return "\n".join(["<!DOCTYPE html>", *root])


def slug(text: str) -> str:
    """The text as an id: lower case, hyphens between words."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
