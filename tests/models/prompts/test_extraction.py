"""The page in the answer of a chat model."""

import pytest

from models.prompts.extraction import extract_page
from models.scoring.metrics import score
from models.scoring.names import Metric

PAGE = "<!DOCTYPE html>\n<html>\n<head><title>One</title></head>\n<body><p>One</p></body>\n</html>"
FRAGMENT = "<p>One</p>\n<p>Two</p>"

ANSWERS = {
    "a fence": (f"Here is the page:\n\n```html\n{PAGE}\n```\n\nIt has a title.", PAGE),
    "a fence without a language": (f"```\n{PAGE}\n```", PAGE),
    "a fragment in a fence": (f"```html\n{FRAGMENT}\n```", FRAGMENT),
    "a longer fence": (f"````HTML\n{PAGE}\n````", PAGE),
    "tildes": (f"~~~html\n{PAGE}\n~~~", PAGE),
    "a fence that is cut off": (f"```html\n{PAGE[:60]}", PAGE[:60]),
    "the first of two fences": (f"```html\n{PAGE}\n```\nor\n```html\n{FRAGMENT}\n```", PAGE),
    "a fence of another language before it": (f"```sh\nopen <file>\n```\n```html\n{PAGE}\n```", PAGE),
    "a page between sentences": (f"Here it is: {PAGE} Enjoy!", PAGE),
    "a page without a doctype": (f"Here it is:\n{PAGE[16:]}\nEnjoy!", PAGE[16:]),
    "a page that is cut off": (f"Here it is:\n{PAGE[:70]}", PAGE[:70]),
    "a thinking part": (f"<think>\nI write ```html\n<p>\n``` or {PAGE[:40]}\n</think>\n\n```html\n{PAGE}\n```", PAGE),
    "a fragment after a thinking part": ("<think>A list?</think>\n\n<ul><li>a</li></ul>", "<ul><li>a</li></ul>"),
    "a thinking part that the prompt opened": (f"First <html> ...\n</think>\n{PAGE}", PAGE),
    "a page alone": (PAGE, PAGE),
    "a fragment alone": (FRAGMENT, FRAGMENT),
    "no page": ("I can't do that.", "I can't do that."),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("completion", "page"), ANSWERS.values(), ids=ANSWERS)
def test_the_page_is_found(completion: str, page: str) -> None:
    assert extract_page(completion, "html") == page


@pytest.mark.parametrize("mode", ["none", None])
def test_without_extraction_the_page_is_the_completion(mode: str | None) -> None:
    completion = f"```html\n{PAGE}\n```"
    assert extract_page(completion, mode) == completion


def test_a_perfect_page_in_a_fence_is_exact_and_valid() -> None:
    completion = f"Sure!\n\n```html\n{PAGE}\n```\n\nI hope that you like it."
    metrics = [Metric.EXACT_MATCH, Metric.VALIDITY]
    page, raw = score(extract_page(completion, "html"), PAGE, metrics), score(completion, PAGE, metrics)
    assert (page.exact_match, page.validity) == (1, 1)
    assert (raw.exact_match, raw.validity) == (0, 0)
