"""What a client reads that sends a request to a path or with a method that there is not."""

import difflib
from collections.abc import Iterable, Sequence

from api.messages import LIKENESS, MAX_COMPARED, MAX_SHOWN

DOCUMENTED = "`/docs` describes the API, and `/openapi.json` too"


def unknown_path(path: str, known: Iterable[str]) -> str:
    """Return the message about a path that there is not.

    `known` are the paths that there are, with names in braces for what differs. The message has them as they are, and
    does not repeat the path, which may hold a secret.
    """
    paths = list(dict.fromkeys(known))
    if near := _nearest(path, paths):
        return f"there is no such path; did you mean {' or '.join(f'`{one}`' for one in near)}?"
    lists = [one for one in paths if one.startswith("/v1/") and one.count("/") == 2]
    return f"there is no such path; there are {', '.join(f'`{one}`' for one in lists)}; {DOCUMENTED}"


def wrong_method(allowed: Sequence[str]) -> str:
    """Return the message about a method that a path does not take; it takes the `allowed` ones."""
    methods = " and ".join(part for part in (", ".join(allowed[:-1]), allowed[-1]) if part)
    return f"this path does not take this method; it takes {methods}"


def _nearest(path: str, known: Sequence[str]) -> list[str]:
    segments = [segment for segment in path[:MAX_COMPARED].lower().replace("_", "-").split("/") if segment]
    # without `/v1`, with another version, or with something before it
    forms = (segments, ["v1", *segments], ["v1", *segments[1:]], segments[1:])
    likeness = {one: max(_likeness(form, one) for form in forms) for one in known}
    ranked = sorted(likeness, key=lambda one: -likeness[one])
    return [one for one in ranked[:MAX_SHOWN] if likeness[one] >= max(LIKENESS, likeness[ranked[0]] - 0.05)]


def _likeness(segments: Sequence[str], known: str) -> float:
    """Return how like a known path is, from 0 to 1. What is in braces is like everything."""
    others = known.strip("/").split("/")
    if len(others) != len(segments):
        return 0.0
    pairs = [(one, other) for one, other in zip(segments, others, strict=True) if not other.startswith("{")]
    return min((difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs), default=0.0)
