"""`pagewright prune`: delete old jobs, and the artifacts that they left in the artifact store."""

import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated

import typer

from db import pruning
from db.session import Database, get_database, now
from db.vocabulary import JobKind
from pagewright.artifacts import ArtifactStore, get_artifacts
from workers import sweeper

KEPT_BY_DEFAULT = {JobKind.EVALUATION}
"""Kinds that are deleted only when `--kind` names them: leaderboards and comparisons read their rows."""

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Time since a job ended: 12h, 30d or 4w.")],
    kind: Annotated[
        list[JobKind] | None,
        typer.Option(help="Delete jobs of this kind. May be repeated. Default: all but evaluation."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print what would be deleted, and delete nothing.")] = False,
) -> None:
    """Delete jobs that ended long ago, with their results, and artifacts that no row of the database names.

    These are kept: models and the jobs that created them, datasets,
    evaluations (unless --kind names them), and batches that contain a newer
    job. The command may run while the server works, and may be interrupted
    and repeated.
    """
    try:
        age = parse_age(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    kinds = [each for each in JobKind if (each in kind if kind else each not in KEPT_BY_DEFAULT)]
    try:
        run(get_database(), get_artifacts(), age, kinds, dry_run=dry_run)
    except OSError as error:
        typer.echo(f"pagewright prune: {error}", err=True)
        raise typer.Exit(1) from None


def parse_age(text: str) -> timedelta:
    """Parse `12h`, `30d` or `4w`. Raises ValueError for any other text, and for an age of zero."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if not match:
        raise ValueError(f"{text!r} is not an age; write 12h, 30d or 4w")
    return int(match[1]) * _UNITS[match[2]]


def run(
    database: Database, artifacts: ArtifactStore, age: timedelta, kinds: Collection[JobKind], *, dry_run: bool
) -> None:
    """Delete jobs of these kinds that ended at least `age` ago, and print the counts.

    With `dry_run` it prints the counts and deletes nothing. Raises OSError if the artifact store does not answer.
    """
    with database.read() as session:
        before = now(session) - age
    verb = "would delete" if dry_run else "deleted"
    counts: Counter[JobKind] = Counter()
    try:
        for jobs in pruning.prunable_jobs(database, kinds, before):
            if not dry_run:
                pruning.delete_jobs(database, jobs)
            counts.update(job.kind for job in jobs)
    finally:
        for kind in kinds:
            print(f"{verb} {counts[kind]:,} {kind.value} jobs")
    count, size = _prune_artifacts(database, artifacts, before, dry_run=dry_run)
    print(f"{verb} {count:,} artifacts that no row of the database names, {size:,} bytes")


def _prune_artifacts(
    database: Database, artifacts: ArtifactStore, before: datetime, *, dry_run: bool
) -> tuple[int, int]:
    """Delete the artifacts that no row names. Returns their number and their size in bytes."""
    count = size = 0
    for path in sweeper.orphans(database, artifacts, before):
        count, size = count + 1, size + sum(artifacts.files(path).values())
        if not dry_run:
            with suppress(FileNotFoundError):  # a build worker's sweeper may have deleted it already
                artifacts.delete(path)
    return count, size
