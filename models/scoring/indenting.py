"""Indent pages uniformly. Only whitespace at both ends of lines, and blank lines, change."""

import re
from itertools import takewhile

_TAG = re.compile(r"<!--.*?-->|<(/?)([A-Za-z][A-Za-z0-9-]*)(?:\"[^\"]*\"|'[^']*'|[^>\"'])*>", re.DOTALL)
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_RAW = frozenset({"script", "style"})
_CLOSERS = ("</", "}", "]", ")")
_UNIT = "  "


def indented(page: str) -> str:
    """Return the page with each line indented by two spaces per open element except `html`, and without blank lines.

    Inside scripts and style sheets, brackets are counted in place of elements. Elements without an end tag, and start
    tags that span several lines, are counted wrongly. Whitespace at the start of a line is changed in `pre` and
    `textarea` too, where it is significant.
    """
    lines, depth, raw = [], 0, ""
    for line in filter(None, map(str.strip, page.split("\n"))):
        steps, raw = _steps(line, raw)
        closed_first = len(list(takewhile(lambda step: step < 0, steps))) if line.startswith(_CLOSERS) else 0
        lines.append(_UNIT * max(0, depth - closed_first) + line)
        depth = max(0, depth + sum(steps))
    return "\n".join(lines)


def _steps(line: str, raw: str) -> tuple[list[int], str]:
    """Return what the line opens (1) and closes (-1), in order, and the `script` or `style` that is open after it."""
    steps: list[int] = []
    place = 0
    while place < len(line):
        if raw:
            end = line.lower().find(f"</{raw}", place)
            steps += _brackets(line[place : len(line) if end < 0 else end])
            if end < 0:
                break
            place, raw = end, ""
        tag = _TAG.search(line, place)
        if tag is None:
            break
        place = tag.end()
        name = (tag[2] or "").lower()
        if name and name not in _VOID and name != "html":
            steps.append(-1 if tag[1] else 1)
            raw = name if name in _RAW and not tag[1] else ""
    return steps, raw


def _brackets(code: str) -> list[int]:
    return [1 if character in "{[(" else -1 for character in code if character in "{[()]}"]
