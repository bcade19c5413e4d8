"""`pagewright prune`: deletes jobs that are over for long, and what they left in the artifact store."""

import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta

from db import pruning
from db.session import Database, now
from db.vocabulary import JobKind
from pagewright.artifacts import ArtifactStore
from workers import sweeper

RESULTS = {JobKind.EVALUATION}
"""Kinds that are kept unless they are asked for by name: leaderboards and comparisons are made of them."""

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_age(text: str) -> timedelta:
    """`12h`, `30d` or `4w` as a duration. Raises ValueError for anything else, and for nothing at all."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if not found:
        raise ValueError(f"{text!r} is no age; write 12h, 30d or 4w")
    return int(found[1]) * _UNITS[found[2]]


def run(
    database: Database, artifacts: ArtifactStore, age: timedelta, kinds: Collection[JobKind], *, dry_run: bool
) -> None:
    """Delete, and print what was; with `dry_run` print what would be. Raises OSError if the store does not answer."""
    with database.read() as session:
        before = now(session) - age
    did = "would delete" if dry_run else "deleted"
    counts: Counter[JobKind] = Counter()
    try:
        for jobs in pruning.condemned(database, kinds, before):
            if not dry_run:
                pruning.delete_jobs(database, jobs)
            counts.update(job.kind for job in jobs)
    finally:
        for kind in kinds:
            print(f"{did} {counts[kind]:,} {kind.value} jobs")
    found, size = _prune_artifacts(database, artifacts, before, dry_run=dry_run)
    print(f"{did} {found:,} artifacts that nothing names, {size:,} bytes")


def _prune_artifacts(
    database: Database, artifacts: ArtifactStore, before: datetime, *, dry_run: bool
) -> tuple[int, int]:
    """How many artifacts went, or would go, and their bytes."""
    count = size = 0
    for path in sweeper.orphans(database, artifacts, before):
        count, size = count + 1, size + sum(artifacts.files(path).values())
        if not dry_run:
            with suppress(FileNotFoundError):  # a worker's sweeper may be faster
                artifacts.delete(path)
    return count, size
