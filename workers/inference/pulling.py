"""Pull jobs: the files of a hub model are downloaded to the cache from which this machine's workers load models."""

import uuid

from sqlalchemy.orm import Session

from db.queries import pulls
from db.vocabulary import JobKind
from models.tasks.errors import TaskError
from models.tasks.pull import PullTask
from models.tasks.reports import DownloadedBytes, Outcome
from models.tasks.specification import write_specification
from pagewright.work_folders import work_folder
from workers.builds.process import run_process
from workers.builds.recorder import Recorder
from workers.jobs import AttemptFailed, job
from workers.leases import Lease
from workers.model_refs import model_ref, store_files
from workers.runtime import Runtime


@job(JobKind.PULL)
def pull(runtime: Runtime, leases: list[Lease]) -> None:
    """Download in a process, which a cancelled job can end at any time. Another attempt goes on with the next file."""
    [lease] = leases
    with runtime.database.read() as session:
        row = pulls.get(session, lease.job_id, owner=None)
    assert row is not None, "the pull is stored with its job"
    ref = model_ref(runtime, row.model)
    assert ref.revision is not None, "only hub models are pulled"
    recorder = Recorder(runtime, lease, {DownloadedBytes: _set_bytes})
    with work_folder(runtime.work_folders) as folder:
        task = PullTask(work_folder=folder, location=ref.location, commit=ref.revision)
        ended = run_process(write_specification(task), lease, recorder.receive, grace_seconds=0.0)
    if lease.interrupted:
        runtime.leases.finish(leases, lease.interrupted)
        return
    assert ended is not None, "a process that was not interrupted says how it ended"
    if ended.outcome == Outcome.HUB_UNREACHABLE:
        raise AttemptFailed(ended.message)
    if ended.outcome != Outcome.DONE:
        raise TaskError(ended.message, ended.outcome)
    store_files(runtime, row.model)
    runtime.leases.finish(leases, None)


def _set_bytes(session: Session, job_id: uuid.UUID, report: DownloadedBytes) -> None:
    pulls.set_bytes(session, job_id, done=report.done, total=report.total)
