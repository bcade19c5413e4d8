"""Waiting for jobs. One query per tick serves all waiting clients of an API process."""

import asyncio
import logging
import time
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

REPEAT_SECONDS = 5.0
"""How often followers get a job again that waits: what it waits for, and for how long, changes without the job."""

FAILURE_PAUSE_SECONDS = 0.5
BATCH_TICKS = 5
"""How many ticks pass between two queries about a batch, which takes longer than a job and needs its own query."""


class Watcher:
    """Queries the watched jobs every `seconds`, and passes changed ones to their followers. Runs on the event loop.

    While the database is not available, clients continue to wait: their jobs are stored, and their wait is limited.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._followers: dict[uuid.UUID, set[_Follower]] = defaultdict(set)
        self._has_followers = asyncio.Event()

    async def run(self) -> None:
        """Serve the followers until this task is cancelled."""
        while True:
            await self._has_followers.wait()
            try:
                await self._update()
            except Exception as error:  # any: if this task ended, no client would hear of its job again
                log.warning("can't query the watched jobs: %r", error)
                await asyncio.sleep(FAILURE_PAUSE_SECONDS)
            await asyncio.sleep(self._seconds)

    @property
    def followers(self) -> int:
        """The number of clients that follow a job."""
        return sum(map(len, self._followers.values()))

    async def follow(self, job_id: uuid.UUID) -> AsyncGenerator[Job, None]:
        """Yield the job as it is now and after each change, up to its final status.

        While it is queued or its model is loading, it is also yielded every REPEAT_SECONDS.
        """
        follower = _Follower()
        self._followers[job_id].add(follower)
        self._has_followers.set()
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
                self._has_followers.clear()

    async def wait_final(self, job_id: uuid.UUID, seconds: float) -> None:
        """Return when the job has finished, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds), aclosing(self.follow(job_id)) as states:
                async for _ in states:
                    pass
        except TimeoutError:
            pass

    async def wait_batch_final(self, batch_id: uuid.UUID, seconds: float) -> None:
        """Return when all jobs of the batch have finished, or after `seconds`."""
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
            log.warning("can't query a watched batch: %r", error)
            return True

    async def _update(self) -> None:
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
        self._shown_at = 0.0

    def show(self, job: Job) -> None:
        state = (job.status, job.attempt, job.cancel_requested, job.percent_done, job.loading_since)
        waits = job.status == JobStatus.QUEUED or job.loading_since is not None
        if state != self._seen or (waits and time.monotonic() - self._shown_at >= REPEAT_SECONDS):
            self._seen, self._shown_at = state, time.monotonic()
            self.changes.put_nowait(job)
