"""How many jobs are alive: read through indexes that hold these alone, so it costs the same whatever the history."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from db.session import now
from db.tables.jobs import IS_QUEUED, IS_RUNNING, Job
from db.vocabulary import JobKind, JobStatus


@dataclass(frozen=True)
class LiveJobs:
    """The jobs of one kind that are queued, or running; `oldest_seconds` is the time since the first's submission."""

    kind: JobKind
    status: JobStatus
    count: int
    oldest_seconds: float


def live(session: Session) -> Sequence[LiveJobs]:
    """The kinds and statuses that there are live jobs of."""
    moment = now(session)
    found = []
    for status, condition in ((JobStatus.QUEUED, IS_QUEUED), (JobStatus.RUNNING, IS_RUNNING)):
        # an expression, so that SQLite does not group by the index on kind, which has all of the history
        kind = Job.kind.concat(literal_column("''"))
        statement = select(kind, func.count(), func.min(Job.created_at)).where(condition).group_by(kind)
        for name, count, first in session.execute(statement):
            found.append(LiveJobs(JobKind(name), status, count, max(0.0, (moment - first).total_seconds())))
    return found
