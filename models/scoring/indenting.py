"""Lay out pages anew: blanks at both ends of lines, and blank lines, are all that changes."""

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
    """The page with two spaces for each element that a line is in, but for `html`, and without blank lines.

    Inside scripts and style sheets brackets count instead of tags. An element whose end tag is left out, or whose start
    tag is spread over lines, is counted wrongly. Whitespace at the beginning of a line means something in `pre` and
    `textarea` alone, and changes there, too.
    """
    lines, depth, raw = [], 0, ""
    for line in filter(None, map(str.strip, page.split("\n"))):
        steps, raw = _steps(line, raw)
        closed_first = len(list(takewhile(lambda step: step < 0, steps))) if line.startswith(_CLOSERS) else 0
        lines.append(_UNIT * max(0, depth - closed_first) + line)
        depth = max(0, depth + sum(steps))
    return "\n".join(lines)


def _steps(line: str, raw: str) -> tuple[list[int], str]:
    """What the line opens (1) and closes (-1), in order, and the script or style that is open after it."""
    steps: list[int] = []
    place = 0
    while place < len(line):
        if raw:
            end = line.lower().find(f"</{raw}", place)
            steps += _brackets(line[place : len(line) if end < 0 else end])
            if end < 0:
                break
            place, raw = end, ""
        found = _TAG.search(line, place)
        if found is None:
            break
        place = found.end()
        name = (found[2] or "").lower()
        if name and name not in _VOID and name != "html":
            steps.append(-1 if found[1] else 1)
            raw = name if name in _RAW and not found[1] else ""
    return steps, raw


def _brackets(code: str) -> list[int]:
    return [1 if one in "{[(" else -1 for one in code if one in "{[()]}"]
