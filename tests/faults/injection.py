"""What goes wrong, and when: drawn from a seed, so that a run can be had again."""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import Timer

import psutil
from redis import Redis, RedisError

from db.vocabulary import QueueName
from pagewright.cli.up.parts import free_port
from tests.disk import fill
from tests.faults.installation import APIS, INFERENCE, LEASE_SECONDS, REDIS, TLS, TRAINING, Installation
from tests.processes import answers
from tests.tls import write_certificate
from workers.redis_keys import default_prefix


class Fault(StrEnum):
    KILL_INFERENCE = "kill -9 an inference worker"
    KILL_BUILD_WORKER = "kill -9 the build worker"
    KILL_TASK = "kill -9 the process that trains or quantizes"
    STOP_INFERENCE = "SIGTERM to an inference worker"
    STOP_BUILD_WORKER = "SIGTERM to the build worker"
    PAUSE_INFERENCE = "an inference worker paused past its lease"
    PAUSE_BUILD_WORKER = "the build worker paused past its lease"
    KILL_API = "kill -9 an API process"
    EMPTY_REDIS = "Redis restarted, empty"
    STOP_REDIS = "Redis away for a while"
    PAUSE_REDIS = "Redis silent for a while"
    RESTART_POSTGRESQL = "PostgreSQL restarted"
    CRASH_POSTGRESQL = "PostgreSQL crashed"
    FULL_DISK = "the disk full"
    FAIL_OVER = "Redis a replica, which takes no writes"
    FULL_REDIS = "Redis without memory"
    FOREIGN_MESSAGES = "messages of another program on the queues"
    OTHER_CERTIFICATE = "Redis with a certificate that nobody trusts"


PATIENCE_SECONDS = 15.0
"""How long a fault waits for a moment at which it hurts."""


@dataclass(frozen=True)
class Planned:
    """A fault `at` so many seconds, of the first or second of several parts, which lasts for `seconds` if it lasts."""

    at: float
    fault: Fault
    target: int
    seconds: float


def plan(random_: random.Random, count: int, seconds: float, outage_seconds: float, *, disk: bool) -> list[Planned]:
    """So many faults at random moments, each kind as often as the others; without a disk of its own, none of that."""
    kinds = [fault for fault in Fault if disk or fault != Fault.FULL_DISK]
    drawn: list[Fault] = []
    while len(drawn) < count:
        drawn += random_.sample(kinds, len(kinds))
    found: list[Planned] = []
    for fault in drawn[:count]:
        lasts = random_.uniform(0.5, 1) * outage_seconds
        if fault in (Fault.RESTART_POSTGRESQL, Fault.CRASH_POSTGRESQL):
            lasts = random_.uniform(0, min(4, outage_seconds))
        if fault in (Fault.PAUSE_INFERENCE, Fault.PAUSE_BUILD_WORKER):
            lasts = LEASE_SECONDS + random_.uniform(1, 3)
        found.append(Planned(random_.uniform(0.05, 0.9) * seconds, fault, random_.randrange(2), lasts))
    return sorted(found, key=lambda planned: planned.at)


@dataclass(frozen=True)
class Injected:
    fault: Fault
    at: datetime


class Injector:
    """Brings the faults about as their time comes, and ends those that last. Not for several threads."""

    def __init__(self, installation: Installation, planned: list[Planned]) -> None:
        self.injected: list[Injected] = []
        self._installation = installation
        self._planned = planned
        self._redis = Redis(port=installation.redis_port, socket_timeout=5)
        self._under_way: list[tuple[float, str, Callable[[], None]]] = []

    @property
    def done(self) -> bool:
        return not self._planned and not self._under_way

    def tick(self, elapsed: float) -> None:
        for due in [item for item in self._under_way if item[0] <= elapsed]:
            self._under_way.remove(due)
            due[2]()
        for planned in [item for item in self._planned if item.at <= elapsed]:
            patient = elapsed < planned.at + PATIENCE_SECONDS
            if not (patient and self._little_at_stake(planned)) and self._start(planned, elapsed):
                self._planned.remove(planned)

    def end_all(self) -> None:
        for _, _, end in self._under_way:
            end()
        self._under_way.clear()

    def _start(self, planned: Planned, elapsed: float) -> bool:
        """False if what it is to hit is not there, or is hit already: then it comes later."""
        inference, api = INFERENCE[planned.target], APIS[planned.target]
        lasting: dict[Fault, tuple[str, Callable[[], None], Callable[[], None]]] = {
            Fault.PAUSE_INFERENCE: (inference, partial(self._pause, inference), partial(self._go_on, inference)),
            Fault.PAUSE_BUILD_WORKER: (TRAINING, partial(self._pause, TRAINING), partial(self._go_on, TRAINING)),
            Fault.PAUSE_REDIS: (REDIS, partial(self._pause, REDIS), partial(self._go_on, REDIS)),
            Fault.STOP_REDIS: (REDIS, self._stop_redis, self._start_redis),
            Fault.RESTART_POSTGRESQL: ("database", partial(self._stop_postgresql, "fast"), self._start_postgresql),
            Fault.CRASH_POSTGRESQL: ("database", partial(self._stop_postgresql, "immediate"), self._start_postgresql),
            Fault.FULL_DISK: ("disk", self._fill_disk, self._empty_disk),
            Fault.FAIL_OVER: (REDIS, self._become_a_replica, self._become_the_master),
            Fault.FULL_REDIS: (REDIS, partial(self._limit_redis, 1), partial(self._limit_redis, 0)),
            Fault.OTHER_CERTIFICATE: (TLS, self._change_certificate, self._restore_certificate),
        }
        at_once: dict[Fault, tuple[str, int]] = {
            Fault.KILL_INFERENCE: (inference, signal.SIGKILL),
            Fault.KILL_BUILD_WORKER: (TRAINING, signal.SIGKILL),
            Fault.STOP_INFERENCE: (inference, signal.SIGTERM),
            Fault.STOP_BUILD_WORKER: (TRAINING, signal.SIGTERM),
            Fault.KILL_API: (api, signal.SIGKILL),
            Fault.EMPTY_REDIS: (REDIS, signal.SIGKILL),
        }
        moment = datetime.now(UTC)
        if planned.fault == Fault.KILL_TASK:
            if not self._kill_task():
                return False
        elif planned.fault == Fault.FOREIGN_MESSAGES:
            if not self._send_foreign_messages():
                return False
        elif planned.fault in at_once:
            target, number = at_once[planned.fault]
            if not self._free(target):
                return False
            self._installation.signal(target, number)
        else:
            target, begin, end = lasting[planned.fault]
            if not self._free(target) or (target == REDIS and not answers(self._redis)):
                return False
            begin()
            self._under_way.append((elapsed + planned.seconds, target, end))
        self.injected.append(Injected(planned.fault, moment))
        return True

    def _little_at_stake(self, planned: Planned) -> bool:
        """Whether a kill would hit nothing but a part that waits, or a task that has only just begun."""
        data = self._installation.data
        if planned.fault == Fault.KILL_API:
            return not any(data.glob("uploads/*"))
        if planned.fault in (Fault.KILL_BUILD_WORKER, Fault.KILL_TASK):
            return all(_reports(file) < 2 * planned.seconds for file in data.glob("work/*/reports.jsonl"))
        return False

    def _free(self, target: str) -> bool:
        if any(target == other for _, other, _ in self._under_way):
            return False
        return target not in self._installation.parts or self._installation.alive(target)

    def _pause(self, name: str) -> None:
        self._installation.signal(name, signal.SIGSTOP)

    def _go_on(self, name: str) -> None:
        if self._installation.alive(name):
            self._installation.signal(name, signal.SIGCONT)

    def _kill_task(self) -> bool:
        if not self._free(TRAINING):
            return False
        with suppress(psutil.Error):
            for child in self._installation.process(TRAINING).children():
                child.kill()
                return True
        return False

    def _stop_redis(self) -> None:
        self._installation.held.add(REDIS)
        self._installation.signal(REDIS, signal.SIGKILL)

    def _start_redis(self) -> None:
        self._installation.held.discard(REDIS)

    def _become_a_replica(self) -> None:
        self._redis.replicaof("127.0.0.1", str(free_port()))

    def _become_the_master(self) -> None:
        self._redis.replicaof("NO", "ONE")

    def _limit_redis(self, bytes_: int) -> None:
        self._redis.config_set("maxmemory", bytes_)

    def _send_foreign_messages(self) -> bool:
        if not self._free(REDIS):
            return False
        prefix = default_prefix(self._installation.database)
        try:
            for name in QueueName:
                self._redis.rpush(prefix + name, "hello", "1", '{"task": "another"}')  # the next that are received
        except RedisError:
            return False
        return True

    def _change_certificate(self) -> None:
        write_certificate(self._installation.served_certificate)
        self._installation.signal(TLS, signal.SIGKILL)

    def _restore_certificate(self) -> None:
        shutil.copy(self._installation.certificate, self._installation.served_certificate)
        self._installation.signal(TLS, signal.SIGKILL)

    def _stop_postgresql(self, mode: str) -> None:
        self._installation.stop_postgresql(mode)

    def _start_postgresql(self) -> None:
        self._installation.start_postgresql()

    def _fill_disk(self) -> None:
        assert self._installation.disk
        fill(self._installation.disk / "ballast")

    def _empty_disk(self) -> None:
        assert self._installation.disk
        (self._installation.disk / "ballast").unlink()


def _reports(file: Path) -> int:
    """How many reports a task has written, if it still writes."""
    try:
        writes = time.time() - file.stat().st_mtime < 1
        return file.read_text().count("\n") if writes else 0
    except FileNotFoundError:  # its worker has come to the end, and removed it
        return 0


def deliver_twice(port: int, prefix: str, random_: random.Random, delivered: Callable[[], None]) -> None:
    """Put every message of the queues on its queue once more, at once or later, for as long as this process lives."""
    names = {prefix + name for name in QueueName}
    client = Redis(port=port)

    def deliver(queue: str, message: str) -> None:
        with suppress(RedisError, OSError):
            client.eval("return redis.call('LPUSH', KEYS[1], ARGV[1])", 1, queue, message)
            delivered()

    while True:
        with suppress(RedisError, OSError), client.monitor() as monitor:
            for command in monitor.listen():
                name, _, rest = command["command"].partition(" ")
                queue, _, message = rest.partition(" ")
                # what our own script puts there comes from "lua"
                if name == "LPUSH" and queue in names and command["client_type"] != "lua":
                    json.loads(message)
                    later = Timer(random_.choice([0, random_.uniform(0, 5)]), deliver, [queue, message])
                    later.daemon = True
                    later.start()
        time.sleep(0.1)
