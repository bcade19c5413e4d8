"""Start Python programs that need not import torch and transformers first, which takes longer than most tests.

A server process imports them once and then forks. The forked process runs the same program as `python -m MODULE` would,
with the arguments, environment, standard files and session that it was given, as a child of the calling
process. Only imports are shared: the server loads no model, starts no thread and touches no GPU.
"""

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from typing import Any

from huggingface_hub import constants

LIBRARIES = [
    "celery.worker", "kombu.transport.redis", "psycopg", "sqlalchemy.orm", "models.serving.pool",
    "models.fine_tuning.training", "models.loading.merging", "models.quantization.gptq",
]  # fmt: skip
READ_AT_IMPORT = ("PYTHONPATH", "OMP_NUM_THREADS", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE")
"""Environment variables that Python and these libraries read when they start: with others, a process is not forked."""
_WITH_DEFAULTS = {"HF_HOME": constants.HF_HOME}
PR_SET_CHILD_SUBREAPER = 36


_Popen = subprocess.Popen
"""Python's own, whatever a test has put in its place."""


class Popen(_Popen[Any]):
    """`subprocess.Popen` that forks `python -m MODULE ...` off the server; it starts everything else as usual."""

    def _execute_child(self, *arguments: Any) -> None:
        call = inspect.signature(_Popen._execute_child).bind(self, *arguments).arguments  # type: ignore[attr-defined]
        environment = dict(os.environ if call["env"] is None else call["env"])
        program = sys.platform == "linux" and call["args"][:2] == [sys.executable, "-m"]
        if not program or not _server().has_imported_in(environment):
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        ends = [call["p2cread"], call["c2pwrite"], call["errwrite"]]
        request = {
            "arguments": call["args"][2:],
            "environment": environment,
            "folder": call["cwd"] or os.getcwd(),
            "new_session": call["start_new_session"],
        }
        self.pid = _server().start(request, [own if end == -1 else end for own, end in enumerate(ends)])
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(call[name] for name in pipes))  # type: ignore[attr-defined]


class _Server:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._environment = _WITH_DEFAULTS | os.environ
        with theirs:
            command = [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())]
            process = _Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        atexit.register(process.wait)
        atexit.register(self._socket.close)

    def has_imported_in(self, environment: dict[str, str]) -> bool:
        """Return whether imports in this environment would read what the server's imports have read."""
        environment = _WITH_DEFAULTS | environment
        return all(environment.get(name) == self._environment.get(name) for name in READ_AT_IMPORT)

    def start(self, request: dict[str, Any], standard_files: list[int]) -> int:
        with self._lock:
            # the forked process loses its parent, and this one adopts it
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self._socket, [json.dumps(request).encode()], standard_files)
                return int(self._socket.recv(100))
            finally:
                ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)


_servers: dict[int, _Server] = {}


def _server() -> _Server:
    """Return this process's server, started when it is first needed."""
    if os.getpid() not in _servers:
        _servers[os.getpid()] = _Server()
    return _servers[os.getpid()]


def _serve(connection: socket.socket) -> list[str] | None:
    """Fork a process for each request; return its arguments in the forked process, and None at the end of requests."""
    while True:
        content, standard_files, _, _ = socket.recv_fds(connection, 1024 * 1024, 3)
        if not content:
            return None
        request = json.loads(content)
        read, write = os.pipe()
        between = os.fork()
        if between == 0:
            if pid := os.fork():
                os.write(write, str(pid).encode())
                os._exit(0)
            for file in (read, write):
                os.close(file)
            connection.close()
            for number, file in enumerate(standard_files):
                os.dup2(file, number)
                os.close(file)
            if request["new_session"]:
                os.setsid()
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            arguments: list[str] = request["arguments"]
            return arguments
        os.waitpid(between, 0)
        connection.send(os.read(read, 100))
        for file in (read, write, *standard_files):
            os.close(file)


if __name__ == "__main__":
    for name in LIBRARIES:
        importlib.import_module(name)
    assert threading.active_count() == 1
    gc.freeze()  # forked processes need not look at what was imported: that would copy all of its memory
    program = _serve(socket.socket(fileno=int(sys.argv[1])))
    if program is not None:
        sys.orig_argv = [sys.executable, "-m", *program]
        sys.argv = program
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
