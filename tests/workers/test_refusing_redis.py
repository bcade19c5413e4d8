"""A worker outlives a Redis that answers with errors, says which, and goes on when the errors are over."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis

from db.tables.jobs import Job
from db.vocabulary import JobStatus
from pagewright.cli.up.parts import free_port, redis_server
from tests.databases import on_sqlite
from tests.processes import eventually, running
from tests.workers.conftest import FAST

pytestmark = on_sqlite


def _port_of_a_cluster() -> int:
    """A free port to which a node of a cluster can add 10,000."""
    while (port := free_port()) > 55_535:
        pass
    return port


@dataclass
class Server:
    """A Redis that is restarted with other options."""

    folder: Path
    port: int = field(default_factory=_port_of_a_cluster)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, *options: str) -> None:
        self.stop()
        command = [redis_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self.process = subprocess.Popen([*command, "--save", "", *options], stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    @property
    def client(self) -> Redis:
        return Redis(port=self.port)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def become_a_replica(server: Server) -> None:
    server.client.replicaof("127.0.0.1", str(free_port()))


def become_a_replica_without_data(server: Server) -> None:
    server.client.config_set("replica-serve-stale-data", "no")
    become_a_replica(server)


def become_the_master(server: Server) -> None:
    server.client.replicaof("NO", "ONE")


def fill_the_memory(server: Server) -> None:
    server.client.config_set("maxmemory", 1)


def free_the_memory(server: Server) -> None:
    server.client.config_set("maxmemory", 0)


def require_a_password(server: Server) -> None:
    server.client.config_set("requirepass", "secret")
    with Redis(port=server.port, password="secret") as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub")


def require_no_password(server: Server) -> None:
    Redis(port=server.port, password="secret").config_set("requirepass", "")


def lose_a_node_of_the_cluster(server: Server) -> None:
    server.start("--cluster-enabled", "yes")


def load_for_a_long_time(server: Server) -> None:
    """Redis answers after every two megabytes of the file that it loads, so each key is that long."""
    server.client.config_set("rdbcompression", "no")
    for number in range(20):
        server.client.set(f"key {number}", bytes(2**21))
    server.client.save()
    server.start("--key-load-delay", "500000")


def start_again(server: Server) -> None:
    (server.folder / "dump.rdb").unlink(missing_ok=True)
    server.start()


REFUSALS: dict[str, tuple[Callable[[Server], None], Callable[[Server], None]]] = {
    "READONLY": (become_a_replica, become_the_master),
    "MASTERDOWN": (become_a_replica_without_data, become_the_master),
    "OOM": (fill_the_memory, free_the_memory),
    "NOAUTH": (require_a_password, require_no_password),
    "CLUSTERDOWN": (lose_a_node_of_the_cluster, start_again),
    "LOADING": (load_for_a_long_time, start_again),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_worker_outlives_a_redis_that_refuses_commands(
    server: Server,
    submit_jobs: Callable[..., list[Job]],
    all_are: Callable[[Sequence[Job], JobStatus], bool],
    tmp_path: Path,
    code: str,
) -> None:
    """The test publishes nothing: the worker's reconciler finds the jobs."""
    begin, end = REFUSALS[code]
    log = tmp_path / "worker.log"
    with running("worker", **FAST, redis_url=f"redis://127.0.0.1:{server.port}/0", log=log) as worker:
        before = submit_jobs(1)
        eventually(lambda: all_are(before, JobStatus.SUCCEEDED), "the result before the refusals")
        begin(server)
        after = submit_jobs(1)
        eventually(lambda: f"Redis answers {code}: " in log.read_text(), "the log says why Redis refuses")
        end(server)
        eventually(lambda: all_are(after, JobStatus.SUCCEEDED), "the result after the refusals")
        assert worker.poll() is None
        assert "Traceback" not in log.read_text()
