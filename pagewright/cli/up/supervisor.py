"""Starts the parts in order, restarts those that end, and stops them."""

import signal
import time
from types import FrameType

from redis import Redis, RedisError

from pagewright.cli.up import readiness
from pagewright.cli.up.errors import UpError
from pagewright.cli.up.parts import API, REDIS, WORKERS, Part, make_parts
from pagewright.cli.up.preparation import check_port, locked_data_dir, prepare_database
from pagewright.cli.up.readiness import START_SECONDS, Readiness
from pagewright.settings import Settings

RESTART_WINDOW_SECONDS = 60
MAX_RESTARTS = 5
"""A part that ends more often than this within the window is broken: `up` ends instead of restarting it."""

_interrupted = False


def run(settings: Settings, *, log_to_files: bool) -> None:
    """Run until SIGINT or SIGTERM. Raises UpError if a part can't start or keeps ending.

    With `log_to_files` the parts log to files in DATA_DIR/logs, otherwise to standard error.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background process ignores it by default
        signal.signal(number, _interrupt)
    logs = settings.data_dir / "logs" if log_to_files else None
    with locked_data_dir(settings.data_dir):
        check_port(settings.host, settings.port)
        print("Starting Redis, the database, the API and two workers.")
        print(f"Data: {settings.data_dir}" + (f"   Logs: {logs}" if logs else ""), flush=True)
        key = prepare_database(settings)
        _print_ready("database")
        parts = make_parts(settings, logs)
        try:
            _start(parts, _address(settings))
            _print_next_steps(_address(settings), key)
            _supervise(parts)
        except KeyboardInterrupt:
            print("Stopping.", flush=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # In the reverse order of starting: workers give back their jobs while Redis still answers.
            for part in reversed(parts):
                part.stop()


def _start(parts: list[Part], address: str) -> None:
    """Start the parts, and return when the server is ready."""
    deadline = time.monotonic() + START_SECONDS
    for part in parts:
        part.start()
        if part.name == REDIS:
            _wait_for_redis(part, deadline)
            _print_ready(REDIS)
    waiting = [part.name for part in parts if part.name != REDIS]
    while not (state := readiness.check(address)).ready or waiting:
        for name in [name for name in waiting if _is_ready(name, state)]:
            _print_ready(name)
            waiting.remove(name)
        for part in parts:
            if part.exit_status is not None:
                raise UpError(f"the {part.name} ended with status {part.exit_status}; {_last_output(part)}")
        if time.monotonic() > deadline:
            raise UpError(f"the server is not ready after {START_SECONDS} seconds: {state.detail}")
        _sleep(0.2)


def _is_ready(name: str, state: Readiness) -> bool:
    if name == API:
        return state.api
    return all(state.workers.get(queue.value) for queue in WORKERS[name].queues)


def _last_output(part: Part) -> str:
    return f"the end of its log, {part.log.file}:\n{part.log.tail()}" if part.log else "its output is above"


def _supervise(parts: list[Part]) -> None:
    while True:
        for part in parts:
            if part.exit_status is None:
                continue
            moment = time.monotonic()
            part.restarts = [at for at in part.restarts if moment - at < RESTART_WINDOW_SECONDS] + [moment]
            if len(part.restarts) > MAX_RESTARTS:
                raise UpError(
                    f"the {part.name} ended {len(part.restarts)} times within {RESTART_WINDOW_SECONDS} seconds, "
                    f"the last time with status {part.exit_status}; {_last_output(part)}"
                )
            log = f" Its log: {part.log.file}" if part.log else ""
            print(f"The {part.name} ended with status {part.exit_status}. Starting it again.{log}", flush=True)
            part.start()
        _sleep(0.5)


def _wait_for_redis(part: Part, deadline: float) -> None:
    client = Redis.from_url(part.environment["PAGEWRIGHT_REDIS_URL"])
    while True:
        try:
            client.ping()
        except RedisError as error:
            if time.monotonic() > deadline or part.exit_status is not None:
                raise UpError(f"redis-server does not start: {error}") from None
            _sleep(0.05)
        else:
            return


def _print_ready(name: str) -> None:
    print(f"  {name:<18} ready", flush=True)


def _print_next_steps(address: str, key: str | None) -> None:
    print(f"\nPagewright is at {address}   API documentation: {address}/docs")
    if key:
        print(f"Admin key (shown only once): {key}")
    print(
        f"""
Try it in another terminal:
  export KEY=pw_...    # {"the key above" if key else "an API key that you have"}
  curl -s {address}/v1/generations -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
    -H 'Prefer: wait=60' -d '{{"model": "starter", "prompt": "Create a page with a heading."}}'

Ctrl-C stops it.""",
        flush=True,
    )


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{host}:{settings.port}"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _sleep(seconds: float) -> None:
    """Sleep, or raise KeyboardInterrupt after a signal whose exception Python discarded, as it does in a destructor."""
    if _interrupted:
        raise KeyboardInterrupt
    time.sleep(seconds)
