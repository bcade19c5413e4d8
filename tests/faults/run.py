"""One run: every request without faults, then many of them under faults, then the comparison."""

import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from db.tables.jobs import IS_QUEUED, IS_RUNNING, Job
from db.vocabulary import JobKind
from tests.faults import audit, results, verdict
from tests.faults.client import Client
from tests.faults.injection import Injector, deliver_twice, plan
from tests.faults.installation import APIS, INFERENCE, NEIGHBOUR, REDIS, SMALL, TLS, TRAINING, Installation, running
from tests.faults.neighbour import beside
from tests.faults.verdict import Report
from tests.faults.work import ADAPTER, DATASET, ROWS, Submission, Upload, requests, stream
from tests.processes import LIMIT_SECONDS
from workers.redis_keys import default_prefix

TICK_SECONDS = 0.1
CLIENTS = 4


@dataclass(frozen=True)
class Size:
    """The number of jobs and faults, and the seconds over which they are spread.

    The run fails if a job is left `patience_seconds` after that. `outage_seconds` is the longest time that Redis is
    down, or the disk full.
    """

    jobs: int
    faults: int
    seconds: float
    outage_seconds: float
    patience_seconds: float


SHORT = Size(jobs=2_000, faults=36, seconds=80, outage_seconds=5, patience_seconds=3_600)
LONG = Size(jobs=20_000, faults=200, seconds=2_400, outage_seconds=60, patience_seconds=7_200)


def run(folder: Path, size: Size, seed: int, tell: Callable[[str], None]) -> Report:
    """Run all parts in `folder`, which keeps their logs; `tell` gets a line for each event."""
    report = Report(seed)
    chance = random.Random(seed)
    start = time.monotonic()

    def say(what: str) -> None:
        tell(f"{time.monotonic() - start:5.0f} s  {what}")

    say(f"seed {seed}: starting the parts")
    with running(folder) as installation, beside(installation) as neighbour:
        client = Client(installation.urls, installation.admin_key)
        audit.install(installation.database)
        prefix = default_prefix(installation.database)
        duplicator = partial(
            deliver_twice, installation.redis_port, prefix, random.Random(seed), partial(_count, report)
        )
        threading.Thread(target=duplicator, daemon=True).start()
        _prepare(client)
        expected = _without_faults(installation, client)
        say("the results without faults are complete; starting the faults")
        if installation.disk is None:
            say("this process may not mount a file system: no disk will be full")
        planned = plan(chance, size.faults, size.seconds, size.outage_seconds, disk=installation.disk is not None)
        neighbour.submit()
        items = stream(chance, size.jobs, size.seconds)
        injector = Injector(installation, planned)
        try:
            _storm(installation, client, injector, items, size.seconds + size.patience_seconds, say)
        finally:
            injector.end_all()
        say("all jobs have ended; checking them")
        verdict.judge_jobs(report, installation, client, injector.injected, expected)
        verdict.judge_datasets(report, installation, client)
        report.other += neighbour.problems()
        _stop(report, installation)
        report.sent_again = client.sent_again
        report.other += [*client.problems, *installation.problems]
        client.close()
    say("done")
    return report


def _count(report: Report) -> None:
    report.delivered_twice += 1


def _prepare(client: Client) -> None:
    client.request("POST", "/v1/models", json={"name": SMALL, "source": "local", "location": SMALL})
    client.upload(Upload(0, DATASET, ROWS))


def _without_faults(installation: Installation, client: Client) -> dict[str, Any]:
    """Run every request once without faults and return the results by name."""
    ids = {}
    all_requests = requests()
    for adapter_is_there in (False, True):
        now = {
            name: (kind, body)
            for name, (kind, body) in all_requests.items()
            if (body["model"] == ADAPTER) == adapter_is_there
        }
        for name, (kind, body) in now.items():
            if kind == JobKind.GENERATION:
                body = {"items": [body]}
            elif kind != JobKind.EVALUATION:
                body = {**body, "name": ADAPTER if kind == JobKind.FINE_TUNE else "quantized"}
            key = f"without-faults-{name.replace(' ', '-')}"
            job_ids = client.submit(Submission(0, kind, body, [name], key, False))
            assert job_ids, client.problems
            [ids[name]] = job_ids
        _await_no_live_job(installation, LIMIT_SECONDS)
    found = dict(results.read(installation.database, installation.artifacts, ids.values()))
    missing = [name for name, job_id in ids.items() if found.get(job_id) is None]
    assert not missing, f"without faults, there is no result of {missing}; the logs are in {installation.folder}"
    return {name: found[job_id] for name, job_id in ids.items()}


def _storm(
    installation: Installation,
    client: Client,
    injector: Injector,
    items: list[Submission | Upload],
    give_up_after: float,
    say: Callable[[str], None],
) -> None:
    """Send the items and inject the faults at their times, until all are done and no job is queued or running."""
    start = time.monotonic()
    said = len(injector.injected)
    with ThreadPoolExecutor(CLIENTS) as clients:
        sent: list[Future[Any]] = []
        last_look = 0.0
        while (elapsed := time.monotonic() - start) < give_up_after:
            while items and items[0].at <= elapsed:
                item = items.pop(0)
                sent.append(
                    clients.submit(client.submit, item)
                    if isinstance(item, Submission)
                    else clients.submit(client.upload, item)
                )
            injector.tick(elapsed)
            installation.supervise()
            for injected in injector.injected[said:]:
                say(injected.fault)
            said = len(injector.injected)
            if not items and injector.done and all(future.done() for future in sent) and elapsed - last_look > 1:
                last_look = elapsed
                if _live_jobs(installation) == 0:
                    break
            time.sleep(TICK_SECONDS)
        injector.end_all()
        for future in sent:
            future.result()


def _live_jobs(installation: Installation) -> int | None:
    """Return the number of queued and running jobs; None while the database is down."""
    try:
        with installation.database.read() as session:
            return session.scalars(select(func.count()).select_from(Job).where(IS_QUEUED | IS_RUNNING)).one()
    except DBAPIError:
        return None


def _await_no_live_job(installation: Installation, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _live_jobs(installation) != 0:
        installation.supervise()
        assert time.monotonic() < deadline, f"jobs without faults are not done; the logs are in {installation.folder}"
        time.sleep(TICK_SECONDS)


def _stop(report: Report, installation: Installation) -> None:
    """Stop all parts and report processes that still run and, after one more sweep, files that are left."""
    installation.stop([*INFERENCE, TRAINING])
    training = installation.parts[TRAINING]
    training.start()
    deadline = time.monotonic() + LIMIT_SECONDS
    while (orphans := verdict.left_behind(installation)) and time.monotonic() < deadline:
        time.sleep(0.2)
    report.other += [f"left behind: {orphan}" for orphan in orphans]
    installation.stop([TRAINING, *APIS, NEIGHBOUR, TLS, REDIS])
    deadline = time.monotonic() + LIMIT_SECONDS
    while (processes := installation.left_over()) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in processes:
        report.other.append(f"still running: {process.pid} {process.cmdline()}")
        process.send_signal(signal.SIGKILL)
