"""Making untrusted HTML pages safe to show."""

import re

# No Content-Security-Policy stops Chromium from connecting to the host of a `<link rel=preconnect>`, whether it is in
# the page or in the `srcdoc` of a frame.
_CONNECTING = re.compile(r"<(link|iframe)(?=[\t\n\f\r />])", re.IGNORECASE)


def without_connecting(page: str) -> str:
    """Return the page without the two elements that can reach the network despite a policy: `<link>`, `<iframe>`."""
    return _CONNECTING.sub("<meta", page)
