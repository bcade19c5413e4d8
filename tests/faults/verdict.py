"""Check every job, the files on the disks and the running processes after the faults."""

import uuid
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import select

from db.queries import datasets
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.jobs import Job, JobEvent
from db.tables.models import Model
from db.vocabulary import JobKind, JobStatus, ModelSource, Split
from tests.faults import audit, results
from tests.faults.client import Client
from tests.faults.injection import Fault, Injected
from tests.faults.installation import Installation
from tests.faults.work import SAVE_STEPS


@dataclass
class Attempts:
    jobs: int = 0
    begun: int = 0
    more_than_once: int = 0
    most: int = 0


@dataclass
class Report:
    seed: int
    faults: Counter[Fault] = field(default_factory=Counter)
    delivered_twice: int = 0
    uploads: int = 0
    sent_again: Counter[str] = field(default_factory=Counter)
    attempts: dict[JobKind, Attempts] = field(default_factory=lambda: defaultdict(Attempts))
    most_steps_lost: int = 0
    recovery: dict[Fault, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from each fault to the next job that ended."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    """Parts that ended without a signal, answers that no client should get, and files that were left behind."""

    @property
    def problems(self) -> list[str]:
        return [
            f"{name}: {problem}"
            for name in ("lost", "doubled", "stuck", "wrong", "other")
            for problem in getattr(self, name)
        ]


def judge_jobs(
    report: Report, installation: Installation, client: Client, injected: list[Injected], expected: Mapping[str, Any]
) -> None:
    """Compare the stored jobs with the accepted ones, and their results with those `expected` by name."""
    database = installation.database
    seen = audit.read(database)
    with database.read() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        no_checkpoint = Counter(session.scalars(select(JobEvent.job_id).where(JobEvent.type == "no-checkpoint")))
    for job_id in client.accepted.keys() - jobs.keys():
        report.lost.append(f"{client.accepted[job_id]} {job_id} is not stored")
    for job_id in jobs.keys() - client.accepted.keys():
        report.doubled.append(f"{jobs[job_id].kind} {job_id} was stored, but never given to its client")
    for job in jobs.values():
        _judge_job(report, job, seen)
        interval = SAVE_STEPS * (1 + no_checkpoint[job.id])
        report.most_steps_lost = max(report.most_steps_lost, seen.steps_lost.get(job.id, 0))
        if seen.steps_lost.get(job.id, 0) > interval:
            report.lost.append(f"{job.id}: {seen.steps_lost[job.id]} steps of a fine-tune were done again")
    _judge_results(report, installation, client, jobs, expected)
    for fault in injected:
        report.faults[fault.fault] += 1
        position = bisect_left(seen.finished_at, fault.at)
        if position < len(seen.finished_at):
            report.recovery[fault.fault].append((seen.finished_at[position] - fault.at).total_seconds())


def _judge_job(report: Report, job: Job, seen: audit.Audit) -> None:
    named = f"{job.kind} {job.id} (attempt {job.attempt})"
    attempts = report.attempts[JobKind(job.kind)]
    attempts.jobs += 1
    attempts.begun += job.attempt
    attempts.more_than_once += job.attempt > 1
    attempts.most = max(attempts.most, job.attempt)
    if not JobStatus(job.status).final:
        report.stuck.append(f"{named} is {job.status}")
    elif job.status != JobStatus.SUCCEEDED:
        report.lost.append(f"{named} {job.status}: {job.error_message}")
    if seen.ends.get(job.id, 0) > 1:
        report.doubled.append(f"{named} came to its end {seen.ends[job.id]} times")
    if seen.completions.get(job.id, 0) > 1:
        report.doubled.append(f"the completion of {named} was stored {seen.completions[job.id]} times")


def _judge_results(
    report: Report,
    installation: Installation,
    client: Client,
    jobs: Mapping[uuid.UUID, Job],
    expected: Mapping[str, Any],
) -> None:
    for job_id, found in results.read(installation.database, installation.artifacts, client.accepted.keys()):
        name = client.accepted[job_id]
        if not results.same(JobKind(jobs[job_id].kind), found, expected[name]):
            difference = "" if JobKind(jobs[job_id].kind) != JobKind.GENERATION else f": {found} for {expected[name]}"
            report.wrong.append(f"{name} {job_id} (attempt {jobs[job_id].attempt}){difference}")


def judge_datasets(report: Report, installation: Installation, client: Client) -> None:
    """Check that each upload is stored once with its rows, and that no deleted dataset is left."""
    report.uploads = len(client.uploads)
    stored = client.stored_datasets()
    by_name = {dataset["name"]: dataset for dataset in stored}
    with installation.database.read() as session:
        contents = {dataset.id: dataset.sha256 for dataset in session.scalars(select(Dataset))}
    for upload in client.uploads:
        if upload.deleted:
            if upload.name in by_name:
                report.wrong.append(f"the dataset {upload.name} is there although it was deleted")
            continue
        if upload.name not in by_name:
            report.lost.append(f"the dataset {upload.name}")
            continue
        folder = installation.artifacts / datasets.artifact(contents[uuid.UUID(by_name[upload.name]["id"])])
        rows = [row for split in Split for row in pq.read_table(folder / f"{split}.parquet").to_pylist()]
        if sorted(row["output"] for row in rows) != sorted(row["output"] for row in upload.rows):
            report.wrong.append(f"the rows of the dataset {upload.name}")
    if len(stored) > len(by_name):
        report.doubled.append(f"{len(stored)} datasets of {len(by_name)} names")


def left_behind(installation: Installation) -> list[str]:
    """Return the files in the artifact store that no row names, and the work and temporary folders that still exist."""
    named = _named_artifacts(installation.database)
    artifacts = installation.artifacts
    files = {file.relative_to(artifacts) for file in artifacts.rglob("*") if file.is_file()}
    orphans = [str(file) for file in files if "/".join(file.parts[:2]) not in named or file.suffix == ".partial"]
    folders = [*installation.data.glob("[!a]*/*"), *installation.scratch.glob("*/*")]
    return sorted(orphans) + [str(folder.relative_to(installation.folder)) for folder in folders]


def _named_artifacts(database: Database) -> set[str]:
    with database.read() as session:
        contents = session.scalars(select(Dataset.sha256).where(Dataset.deleted_at.is_(None))).all()
        locations = session.scalars(select(Model.location).where(Model.source == ModelSource.ARTIFACT)).all()
    return {f"datasets/{sha256}" for sha256 in contents} | set(locations)
