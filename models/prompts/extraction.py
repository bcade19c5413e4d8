"""Finds the page in a completion of a chat model, which also writes thoughts and explanations."""

import re

_THINKING = re.compile(r"\A.*</think>\s*", re.DOTALL)
_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*\n(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
_HTML_NAMES = ("html", "htm", "xhtml")
_TAG = re.compile(r"<(?:!doctype|!--|/?[a-z][a-z0-9]*[\s/>])", re.IGNORECASE)
_PAGE = re.compile(r"(?:<!doctype\s+html|<html[\s>]).*?(?:</html\s*>|\Z)", re.IGNORECASE | re.DOTALL)


TOKENS_AROUND_PAGE = 256
"""Room for a sentence and a fence around a page, in tokens. Thoughts are longer, so a job whose model thinks needs a
token limit of its own."""


def tokens_around_page(mode: str | None) -> int:
    """Return how many tokens a completion may have besides the page that is found in it."""
    return TOKENS_AROUND_PAGE if mode == "html" else 0


def extract_page(completion: str, mode: str | None) -> str:
    """Return the page in a completion. With another mode than `html`, that is the completion as it is.

    A thinking part, up to `</think>`, is left out. The page is then the first fenced block that is marked as HTML or,
    without a mark, has a tag; else what there is from the doctype or `<html` to `</html>`. A fence or a page that is
    cut off ends with the completion. Without either, it is all that is not thinking.
    """
    if mode != "html":
        return completion
    answer = _THINKING.sub("", completion, count=1)
    for fence in _FENCE.finditer(answer):
        _, language, content = fence.groups()
        if language.lower() in _HTML_NAMES or (not language and _TAG.search(content)):
            return content.removesuffix("\n")
    page = _PAGE.search(answer)
    return page[0] if page else answer
