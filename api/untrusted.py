"""Pages that anybody wrote."""

import re

# No policy keeps Chromium from connecting to where `<link rel=preconnect>` says, in the page or in a frame's `srcdoc`.
_CONNECTING = re.compile(r"<(link|iframe)(?=[\t\n\f\r />])", re.IGNORECASE)


def without_connecting(page: str) -> str:
    """The page without the two elements that reach the network where a policy forbids it."""
    return _CONNECTING.sub("<meta", page)
