"""Starts the parts in order, restarts those that end, and stops them."""

import time
from collections.abc import Callable
from functools import partial
from types import FrameType

from redis import Redis, RedisError

from pagewright.cli.child_processes import handle_end_signals
from pagewright.cli.up import readiness
from pagewright.cli.up.errors import UpError
from pagewright.cli.up.needs import find_missing
from pagewright.cli.up.parts import API, REDIS, WORKERS, Part, make_parts
from pagewright.cli.up.preparation import check_port, locked_data_dir, prepare_database
from pagewright.cli.up.readiness import START_SECONDS, Readiness
from pagewright.cli.up.restarts import Restarts
from pagewright.settings import Settings

SLOW_START_SECONDS = 10
"""After this long without being ready, what is missing is looked for."""

_interrupted = False


def run(settings: Settings, *, log_to_files: bool) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; a second one kills what still runs. Raises UpError if a part can't start.

    With `log_to_files` the parts log to files in DATA_DIR/logs, otherwise to standard error.
    """
    parts: list[Part] = []
    handle_end_signals(partial(_interrupt, parts))
    logs = settings.data_dir / "logs" if log_to_files else None
    with locked_data_dir(settings.data_dir):
        check_port(settings.host, settings.port)
        print("Starting Redis, the database, the API and two workers.")
        print(f"Data: {settings.data_dir}" + (f"   Logs: {logs}" if logs else ""), flush=True)
        key = prepare_database(settings)
        _print_ready("database")
        parts += make_parts(settings, logs)
        needs = partial(find_missing, parts[0].environment["PAGEWRIGHT_REDIS_URL"], settings.database)
        try:
            _start(parts, address_of(settings.host, settings.port), needs)
            _print_next_steps(address_of(settings.host, settings.port), key)
            _supervise(parts, needs)
        except KeyboardInterrupt:
            print("Stopping. A second Ctrl-C kills what has not ended yet.", flush=True)
        finally:
            _stop(parts)


def _start(parts: list[Part], address: str, needs: Callable[[], str | None]) -> None:
    """Start the parts, and return when the server is ready.

    Raises UpError if a part ends although it has all that it needs, or if the server is not ready for START_SECONDS.
    """
    started = time.monotonic()
    for part in parts:
        part.start()
        if part.name == REDIS:
            _wait_for_redis(part, started + START_SECONDS)
            _print_ready(REDIS)
    waiting = [part.name for part in parts if part.name != REDIS]
    restarts = [Restarts(part, needs) for part in parts]
    missing = None
    while not (state := readiness.check(address)).ready or waiting:
        for name in [name for name in waiting if _is_ready(name, state)]:
            _print_ready(name)
            waiting.remove(name)
        ended = [part for part in parts if part.exit_status is not None]
        if ended or time.monotonic() - started > SLOW_START_SECONDS:
            before, missing = missing, needs()
            if missing and missing != before:
                print(f"{missing} Pagewright waits for it.", flush=True)
        if ended and (not missing or API in [part.name for part in ended]):
            raise UpError(f"the {ended[0].name} ended with status {ended[0].exit_status}; {_last_output(ended[0])}")
        if missing:
            started = time.monotonic()
        elif time.monotonic() - started > START_SECONDS:
            raise UpError(f"the server is not ready after {START_SECONDS} seconds: {state.detail}")
        for restart in restarts:
            restart.step(time.monotonic())
        _sleep(0.2)


def _supervise(parts: list[Part], needs: Callable[[], str | None]) -> None:
    restarts = [Restarts(part, needs) for part in parts]
    while True:
        for restart in restarts:
            restart.step(time.monotonic())
        _sleep(0.5)


def _stop(parts: list[Part]) -> None:
    """Stop the parts in the reverse order of starting, the workers together.

    So workers give back their jobs while Redis still answers. A signal from now on kills the parts.
    """
    global _interrupted
    _interrupted = True
    workers = [part for part in parts if part.name in WORKERS]
    for part in workers:
        part.terminate()
    for part in workers:
        part.wait()
    for part in reversed(parts):
        part.stop()


def _is_ready(name: str, state: Readiness) -> bool:
    if name == API:
        return state.api
    return all(state.workers.get(queue.value) for queue in WORKERS[name].queues)


def _last_output(part: Part) -> str:
    return f"the end of its log, {part.log.file}:\n{part.log.tail()}" if part.log else "its output is above"


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


def address_of(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens at `host` and `port`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _interrupt(parts: list[Part], _signal: int, _frame: FrameType | None) -> None:
    global _interrupted
    if _interrupted:
        for part in parts:
            part.kill()
        return
    _interrupted = True
    raise KeyboardInterrupt


def _sleep(seconds: float) -> None:
    """Sleep, or raise KeyboardInterrupt after a signal whose exception Python discarded, as it does in a destructor."""
    if _interrupted:
        raise KeyboardInterrupt
    time.sleep(seconds)
