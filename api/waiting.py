"""Clients that wait for jobs: one query per tick serves all those of an API process, however many they are."""

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from db.queries import jobs
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import JobStatus

log = logging.getLogger(__name__)

FAILURE_PAUSE_SECONDS = 0.5
BATCH_TICKS = 5
"""A batch takes longer than a job, and has a query of its own: it is looked at so many times less often."""


class Watcher:
    """Looks at the watched jobs every `seconds`, and hands on those that changed. Lives on the event loop.

    While the database does not answer, clients go on waiting: what they wait for is stored, and their time is limited.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._followers: dict[uuid.UUID, set[_Follower]] = defaultdict(set)
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Serve the followers until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._look()
            except Exception as error:  # whatever it is, ending here would leave every client waiting for nothing
                log.warning("can't look at watched jobs: %r", error)
                await asyncio.sleep(FAILURE_PAUSE_SECONDS)
            await asyncio.sleep(self._seconds)

    @property
    def followers(self) -> int:
        return sum(map(len, self._followers.values()))

    async def follow(self, job_id: uuid.UUID) -> AsyncGenerator[Job, None]:
        """The job as it is, and again each time it changes; ends after its final status."""
        follower = _Follower()
        self._followers[job_id].add(follower)
        self._wanted.set()
        try:
            while True:
                job = await follower.changes.get()
                yield job
                if JobStatus(job.status).final:
                    return
        finally:
            self._followers[job_id].discard(follower)
            if not self._followers[job_id]:
                del self._followers[job_id]
            if not self._followers:
                self._wanted.clear()

    async def wait_final(self, job_id: uuid.UUID, seconds: float) -> None:
        """Return when the job is over, or when the time is."""
        try:
            async with asyncio.timeout(seconds), aclosing(self.follow(job_id)) as states:
                async for _ in states:
                    pass
        except TimeoutError:
            pass

    async def wait_batch_final(self, batch_id: uuid.UUID, seconds: float) -> None:
        """Return when no job of the batch is left to do, or when the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while await run_in_threadpool(self._batch_live, batch_id):
                    await asyncio.sleep(BATCH_TICKS * self._seconds)
        except TimeoutError:
            pass

    def _batch_live(self, batch_id: uuid.UUID) -> bool:
        try:
            with self._database.read() as session:
                return jobs.batch_is_live(session, batch_id)
        except SQLAlchemyError as error:
            log.warning("can't look at a watched batch: %r", error)
            return True

    async def _look(self) -> None:
        for job in await run_in_threadpool(self._read, list(self._followers)):
            for follower in self._followers.get(job.id, ()):
                follower.show(job)

    def _read(self, job_ids: list[uuid.UUID]) -> list[Job]:
        with self._database.read() as session:
            return list(jobs.get_many(session, job_ids))


class _Follower:
    def __init__(self) -> None:
        self.changes: asyncio.Queue[Job] = asyncio.Queue()
        self._seen: tuple[object, ...] | None = None

    def show(self, job: Job) -> None:
        state = (job.status, job.attempt, job.cancel_requested, job.percent_done)
        if state != self._seen:
            self._seen = state
            self.changes.put_nowait(job)
