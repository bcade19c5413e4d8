"""Write the sample dataset, `docs/examples/pages.jsonl`: pages of one site, for a first fine-tune on a CPU.

`python -m starter_model.examples` writes it. The requests are those that the starter model knows. Its pages get what
the starter model can't guess: the stylesheet and the footer of the site. So the starter model reproduces none of them,
and a fine-tune of a minute does.
"""

import json
import re
from itertools import count
from pathlib import Path

from starter_model import vocabulary
from starter_model.rows import draw

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples" / "pages.jsonl"
ROWS = 120
MAX_CHARACTERS = 420
"""Of a page: a short page takes little time to learn and to generate on a CPU."""

KINDS = (
    "heading",
    "unordered list",
    "ordered list",
    "links",
    "image",
    "button",
    "menu",
    "blockquote",
    "event",
    "product",
    "profile",
    "recipe",
)
STYLESHEET = '    <link rel="stylesheet" href="/site.css">\n'
FOOTER = "    <footer>\n      <p>Market Street 1, open daily</p>\n    </footer>\n"

_WORD = re.compile(r"[a-z]+")
_SYLLABLES = re.compile(f"({'|'.join(vocabulary.SYLLABLES)})+")
_VOCABULARY = {
    word
    for name, texts in vars(vocabulary).items()
    if name.isupper() and name != "SYLLABLES"
    for text in texts
    for word in _WORD.findall(text.lower())
}


def rows() -> list[dict[str, str]]:
    """Return the rows of the sample dataset: instruction, input and output. They are the same in every call."""
    by_page: dict[str, dict[str, str]] = {}
    draws = {kind: count() for kind in KINDS}
    while len(by_page) < ROWS:
        kind = KINDS[len(by_page) % len(KINDS)]
        row = draw(kind, f"examples/{next(draws[kind])}")
        if len(row.output) <= MAX_CHARACTERS and not _has_made_up_words(row.instruction + row.input):
            columns = {"instruction": row.instruction, "input": row.input, "output": _in_site_style(row.output)}
            by_page.setdefault(row.output, columns)
    return list(by_page.values())


def lines() -> str:
    """Return the content of the sample dataset."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())


def _has_made_up_words(text: str) -> bool:
    """Return whether the text may have a word such as `zelloor`, which the generator makes of syllables."""
    words = set(_WORD.findall(text.lower())) - _VOCABULARY
    return any(_SYLLABLES.fullmatch(word) for word in words)


def _in_site_style(page: str) -> str:
    return page.replace("  </head>\n", STYLESHEET + "  </head>\n").replace("  </body>\n", FOOTER + "  </body>\n")


if __name__ == "__main__":
    EXAMPLES.write_text(lines(), encoding="utf-8")
