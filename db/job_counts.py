"""How many jobs are alive: read through indexes that hold these alone, so it costs the same whatever the history."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.session import now
from db.tables import IS_QUEUED, IS_RUNNING, Job
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
        statement = select(Job.kind, func.count(), func.min(Job.created_at)).where(condition).group_by(Job.kind)
        for kind, count, first in session.execute(statement):
            found.append(LiveJobs(JobKind(kind), status, count, max(0.0, (moment - first).total_seconds())))
    return found
