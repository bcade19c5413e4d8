import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import pagewright.cli.client
import pagewright.cli.evaluate
from pagewright.cli.app import app
from pagewright.cli.up.parts import free_port
from tests.processes import COMMAND, environment, eventually

ID = "01936b3e-0000-7000-8000-000000000001"

Answer = tuple[int, dict[str, Any]]
HANG_UP: Answer = (0, {})
"""The connection ends without a response."""

Evaluate = Callable[..., Result]


def score(value: float, low: float | None = None, high: float | None = None, n: int = 40) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n}


def evaluation(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    """The server's representation of an evaluation of 40 rows."""
    return {
        "id": ID,
        "kind": "evaluation",
        "status": status,
        "attempt": 1,
        "error": None,
        "percent_done": None,
        "remaining_seconds": None,
        "started_at": None,
        "finished_at": None,
        "model": "starter",
        "dataset": "pages",
        "split": "test",
        "limit": None,
        "rows": 40,
        "rows_done": 40 if status == "succeeded" else 0,
        "partial": False,
        "template": "chat",
        "extract": "html",
        "scores": {"exact_match": score(0.4996, 0.4, 0.6), "chrf": score(71.236, 65, 77.5)}
        if status == "succeeded"
        else {},
        **fields,
    }


def leaderboard(**exact_matches: float) -> dict[str, Any]:
    """A leaderboard with these models and scores, in this order."""
    items = [
        {"evaluation_id": ID, "model": model, "scores": {"exact_match": score(value)}}
        for model, value in exact_matches.items()
    ]
    return {"dataset": "pages", "split": "test", "rows": 40, "items": items, "missing_baselines": []}


def problem(status: int, detail: str) -> Answer:
    return status, {"type": "urn:pagewright:problem:invalid", "title": "", "status": status, "detail": detail}


@dataclass
class Server:
    """A server with the API of evaluations. It repeats the last response of `submit` and of `polls`."""

    submit: list[Answer] = field(default_factory=lambda: [(202, evaluation("queued"))])
    polls: list[Answer] = field(default_factory=lambda: [(200, evaluation())])
    leaderboard: Answer = (200, leaderboard())
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def answer(self, method: str, path: str) -> Answer:
        if method == "POST":
            return self.submit.pop(0) if len(self.submit) > 1 else self.submit[0]
        if path.startswith("/v1/leaderboard"):
            return self.leaderboard
        assert path == f"/v1/evaluations/{ID}"
        return self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]

    def seen(self, method: str, start: str) -> list[tuple[str, str, dict[str, str], Any]]:
        return [request for request in self.requests if request[0] == method and request[1].startswith(start)]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def address(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.requests.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
            status, answer = server.answer(self.command, self.path)
            if (status, answer) == HANG_UP:
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = handle_one

        def log_message(self, *_: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def evaluate(address: str, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Runs `pagewright evaluate starter pages` in this process, with more arguments and settings."""
    monkeypatch.setattr(pagewright.cli.evaluate, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(pagewright.cli.client, "RETRY_SECONDS", 0.01)

    def run(*arguments: str, **settings: object) -> Result:
        configure(**{"server_url": address, "api_key": "pw_secret", **settings})
        return CliRunner().invoke(app, ["evaluate", "starter", "pages", *arguments])

    return run


def test_the_command_waits_and_prints_each_metric_with_its_interval_and_rows(
    server: Server, evaluate: Evaluate
) -> None:
    running = evaluation("running", rows_done=20, remaining_seconds=12.5)
    server.polls = [(200, evaluation("queued")), (200, running), (200, evaluation())]
    ended = evaluate()
    assert ended.exit_code == 0, ended.output
    assert ID in ended.stderr
    assert "starter on pages, test, 40 rows" in ended.stdout
    assert "prompt template chat, extract html" in ended.stdout
    rows = [line.replace("│", " ").split() for line in ended.stdout.splitlines()]
    assert ["exact_match", "0.4996", "0.4000", "to", "0.6000", "40"] in rows
    assert ["chrf", "71.24", "65.00", "to", "77.50", "40"] in rows
    assert len(server.seen("GET", "/v1/evaluations/")) == 3


def test_the_request_has_the_values_of_the_options(server: Server, evaluate: Evaluate) -> None:
    rows = ("--split", "train", "--limit", "5")
    metrics = ("--metric", "chrf", "--metric", "validity", "--metric", "chrf")
    assert evaluate(*rows, *metrics, "--max-new-tokens", "90").exit_code == 0
    [(_, path, headers, body)] = server.seen("POST", "/")
    assert path == "/v1/evaluations"
    assert headers["Authorization"] == "Bearer pw_secret"
    assert body == {
        "model": "starter",
        "dataset": "pages",
        "split": "train",
        "limit": 5,
        "metrics": ["chrf", "validity"],
        "max_new_tokens": 90,
    }


def test_the_default_request_is_for_all_rows_of_the_test_split_and_all_metrics(
    server: Server, evaluate: Evaluate
) -> None:
    evaluate()
    [(*_, body)] = server.seen("POST", "/")
    assert (body["split"], body["limit"], body["max_new_tokens"]) == ("test", None, None)
    assert len(body["metrics"]) == 6


def test_scores_of_the_baselines_on_the_same_rows_are_shown_beside_the_scores(
    server: Server, evaluate: Evaluate
) -> None:
    board = {"another": 0.9, "baseline:nearest-neighbour": 0.0312, "baseline:constant": 0.0101}
    server.leaderboard = (200, leaderboard(**board))
    ended = evaluate()
    [line] = [line for line in ended.stdout.splitlines() if "exact_match" in line]
    assert line.replace("│", " ").split()[-2:] == ["0.0101", "0.0312"]
    assert "nearest-neighbour" in ended.stdout
    assert "another" not in ended.stdout
    [(_, path, *_)] = server.seen("GET", "/v1/leaderboard")
    assert path == "/v1/leaderboard?dataset=pages&split=test&rows=40"


def test_a_hint_names_the_commands_that_evaluate_missing_baselines(server: Server, evaluate: Evaluate) -> None:
    server.polls = [(200, evaluation(limit=40))]
    server.leaderboard = (200, {**leaderboard(), "missing_baselines": ["baseline:constant"]})
    [hint] = [line for line in evaluate().stderr.splitlines() if "baseline" in line]
    assert "`pagewright evaluate baseline:constant pages --split test --limit 40`" in hint


def test_scores_are_shown_and_checked_without_a_leaderboard(server: Server, evaluate: Evaluate) -> None:
    server.leaderboard = problem(500, "this is a fault of the server")
    ended = evaluate("--min", "chrf=70")
    assert ended.exit_code == 0
    assert "71.24" in ended.stdout
    assert "this is a fault of the server" in ended.stderr


def test_the_status_is_0_when_all_minimums_are_reached(evaluate: Evaluate) -> None:
    assert evaluate("--min", "exact_match=0.4996", "--min", "chrf=71").exit_code == 0


def test_the_status_is_1_and_every_score_below_its_minimum_is_named(evaluate: Evaluate) -> None:
    ended = evaluate("--min", "exact_match=0.5", "--min", "chrf=71", "--min", "validity=0.1")
    assert ended.exit_code == 1
    assert "exact_match is 0.4996, less than 0.5" in ended.stderr
    assert "validity has no score" in ended.stderr
    assert "chrf" not in ended.stderr
    assert "0.4996" in ended.stdout


def test_no_wait_prints_the_id_only(server: Server, evaluate: Evaluate) -> None:
    ended = evaluate("--no-wait")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, f"{ID}\n", "")
    assert len(server.requests) == 1


def test_an_evaluation_that_has_ended_already_is_shown_without_polling(server: Server, evaluate: Evaluate) -> None:
    server.submit = [(200, evaluation())]
    assert "71.24" in evaluate().stdout
    assert server.seen("GET", "/v1/evaluations/") == []


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (evaluation("failed", error={"type": "model-unavailable", "message": "its files are gone"}), "files are gone"),
        (evaluation("cancelled"), "was cancelled"),
    ],
)
def test_a_job_that_failed_or_was_cancelled_has_status_3(
    server: Server, evaluate: Evaluate, ending: Any, words: str
) -> None:
    server.polls = [(200, ending)]
    ended = evaluate("--min", "chrf=1")
    assert ended.exit_code == 3
    assert words in ended.stderr


def test_partial_scores_of_a_cancelled_evaluation_are_shown_as_partial(server: Server, evaluate: Evaluate) -> None:
    server.polls = [(200, evaluation("cancelled", rows_done=7, partial=True, scores={"chrf": score(50.0, n=7)}))]
    ended = evaluate()
    assert ended.exit_code == 3
    assert "7 rows of 40" in ended.stdout
    assert "50.00" in ended.stdout


def test_a_refused_request_has_status_3_and_shows_the_servers_message(server: Server, evaluate: Evaluate) -> None:
    server.submit = [problem(422, "model: there is no model of that name [bold]")]
    ended = evaluate()
    assert ended.exit_code == 3
    assert "model: there is no model of that name [bold]" in ended.stderr


def test_a_401_response_names_the_variable_of_the_key(server: Server, evaluate: Evaluate) -> None:
    server.submit = [problem(401, "a key is needed")]
    ended = evaluate(api_key="")
    assert ended.exit_code == 3
    assert "PAGEWRIGHT_API_KEY" in ended.stderr
    [(_, _, headers, _)] = server.requests
    assert "Authorization" not in headers


def test_an_unreachable_server_has_status_3(evaluate: Evaluate) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    ended = evaluate("--url", address)
    assert ended.exit_code == 3
    assert address in ended.stderr


def test_a_server_that_is_not_pagewright_has_status_3(server: Server, evaluate: Evaluate) -> None:
    server.submit = [(200, {"hello": "world"})]
    ended = evaluate()
    assert ended.exit_code == 3
    assert "not a Pagewright server" in ended.stderr


def test_a_submission_without_a_response_is_repeated_with_the_same_idempotency_key(
    server: Server, evaluate: Evaluate
) -> None:
    server.submit = [HANG_UP, problem(503, "the database does not answer"), (202, evaluation("queued"))]
    assert evaluate().exit_code == 0
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in server.seen("POST", "/")}
    assert len(server.seen("POST", "/")) == 3
    assert len(keys) == 1


def test_two_commands_use_different_idempotency_keys(server: Server, evaluate: Evaluate) -> None:
    evaluate(), evaluate()
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in server.seen("POST", "/")}) == 2


def test_waiting_continues_while_the_server_restarts(server: Server, evaluate: Evaluate) -> None:
    server.polls = [HANG_UP, problem(502, "bad gateway"), (200, evaluation())]
    ended = evaluate()
    assert ended.exit_code == 0
    assert "retrying for up to 60 seconds" in ended.stderr


@pytest.mark.parametrize(
    ("trouble", "words"), [(HANG_UP, "does not answer"), (problem(503, "no database"), "no database")]
)
def test_a_server_that_does_not_come_back_has_status_3(
    server: Server, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch, trouble: Answer, words: str
) -> None:
    monkeypatch.setattr(pagewright.cli.client, "RETRY_LIMIT_SECONDS", 0.1)
    server.polls = [trouble]
    ended = evaluate()
    assert ended.exit_code == 3
    assert words in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--min beauty=1", "beauty"),
        ("--min chrf=much", "chrf=much"),
        ("--min chrf", "no number after the equals sign"),
        ("--min exact_match=50", "between 0 and 1"),
        ("--min chrf=nan", "between 0 and 100"),
        ("--min chrf=50 --no-wait", "--no-wait"),
        ("--min chrf=50 --metric validity", "--metric"),
        ("--metric beauty", "beauty"),
        ("--limit 0", "--limit"),
        ("--url localhost:8000", "localhost:8000"),
        ("--url http://host:port", "http://host:port"),
    ],
)
def test_wrong_options_have_status_2_and_send_no_request(
    server: Server, evaluate: Evaluate, arguments: str, words: str
) -> None:
    ended = evaluate(*arguments.split())
    assert ended.exit_code == 2
    assert words in " ".join(ended.stderr.replace("│", " ").split())  # the message is in a box
    assert server.requests == []


def test_a_key_that_is_not_ascii_is_refused_and_not_shown(evaluate: Evaluate) -> None:
    ended = evaluate(api_key="pw_sécret")
    assert ended.exit_code == 1
    assert "PAGEWRIGHT_API_KEY" in ended.stderr
    assert "cret" not in ended.output


def test_after_ctrl_c_on_a_terminal_the_evaluation_continues(server: Server, address: str) -> None:
    running = evaluation("running", attempt=2, rows_done=20, remaining_seconds=75.4)
    server.polls = [(200, running), problem(503, "a restart"), (200, running)]
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "evaluate", "starter", "pages"],
        env={**environment(server_url=address, api_key="pw_secret"), "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=other_end,
        stderr=other_end,
        start_new_session=True,
    )
    os.close(other_end)
    try:
        eventually(lambda: len(server.seen("GET", "/v1/evaluations/")) >= 4, "polling")
        process.send_signal(signal.SIGINT)
        printed = _read_all(terminal)
        assert process.wait() == 130
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert "running, attempt 2" in printed
    assert "20/40" in printed
    assert "0:01:15 left" in printed
    assert "retrying for up to 60 seconds" in printed
    assert f"evaluation {ID} continues on the server" in printed
    assert "Traceback" not in printed


def _read_all(terminal: int) -> str:
    """Read the terminal until the process that writes to it has ended, which Linux reports as an error."""
    printed = b""
    try:
        while more := os.read(terminal, 4096):
            printed += more
    except OSError:
        pass
    return printed.decode()
