"""What can be said about a page without running it."""

from justhtml import JustHTML


def parse_errors(html: str) -> list[str]:
    """The HTML5 parse errors of a whole document, in source order, as the codes the HTML standard names.

    An empty list means valid. A document without a doctype has an error too: the standard asks for one.
    """
    document = JustHTML(html, collect_errors=True, sanitize=False)
    return [error.code for error in document.errors]
