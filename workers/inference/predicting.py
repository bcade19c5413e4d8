"""From rows to completions: through a model's engine beside the generation jobs, or by a baseline."""

import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue

from db.tables.evaluations import Evaluation
from db.vocabulary import JobKind
from models.prompts.rows import Row
from models.prompts.template import build_prompt
from models.scoring.baselines import FittedBaseline
from models.serving.engine import Completion, RequestError, Sampling
from models.serving.in_process.engine import Engine, Request
from pagewright.telemetry import COMPLETION_TOKENS, PROMPT_TOKENS

WINDOW_ROWS = 1024
"""Rows in memory at once; within them the longest goes first, so that no long one is left alone at the end."""

BASELINE_ROWS = 256
TICK_SECONDS = 0.1
SHARE = 8
"""One part in so many of the engine's batch is kept free for generations, and one is an evaluation's at the least."""


@dataclass(frozen=True)
class Answer:
    """What came of a row. `error` says why its model could not be asked; the completion is empty then."""

    number: int
    row: Row
    completion: str
    finish_reason: str
    latency_seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None


NumberedRow = tuple[int, Row]


def by_baseline(baseline: FittedBaseline, rows: Iterable[NumberedRow], *, in_train: bool) -> Generator[list[Answer]]:
    """The baseline's answers, a batch at a time. With `in_train` no row is answered with its own output."""
    remaining = iter(rows)
    while batch := list(islice(remaining, BASELINE_ROWS)):
        start = time.monotonic()
        numbers = [number for number, _ in batch]
        texts = baseline.answers([row for _, row in batch], numbers if in_train else None)
        seconds = (time.monotonic() - start) / len(batch)
        yield [Answer(number, row, text, "stop", seconds) for (number, row), text in zip(batch, texts, strict=True)]


def longest_reference(engine: Engine, rows: Iterable[NumberedRow]) -> int:
    """Tokens that the longest reference takes, the token that ends it included."""
    remaining = iter(rows)
    longest = 0
    while batch := [row.output for _, row in islice(remaining, BASELINE_ROWS)]:
        longest = max(longest, *engine.count_tokens(batch))
    return longest + 1


def by_engine(
    engine: Engine, asked: Evaluation, max_new_tokens: int, rows: Iterable[NumberedRow]
) -> Generator[list[Answer]]:
    """The answers as they are done, an empty list where none was for a while. Cancels what is left when it is closed.

    Raises EngineFailed when the engine dies.
    """
    predictor = _Predictor(engine, asked, max_new_tokens)
    remaining = _longest_first(engine, rows)
    try:
        while True:
            for number, row, prompt_tokens in islice(remaining, predictor.room()):
                predictor.submit(number, row, prompt_tokens)
            if predictor.idle:
                return
            yield predictor.finished()
    finally:
        predictor.cancel()


def _longest_first(engine: Engine, rows: Iterable[NumberedRow]) -> Iterator[tuple[int, Row, int]]:
    """The rows with the tokens of their prompts, the longest first within each window."""
    remaining = iter(rows)
    while window := list(islice(remaining, WINDOW_ROWS)):
        prompts = engine.count_tokens([_prompt(row) for _, row in window], special=True)
        references = engine.count_tokens([row.output for _, row in window])
        order = sorted(range(len(window)), key=lambda at: prompts[at] + references[at], reverse=True)
        for at in order:
            yield *window[at], prompts[at]


class _Predictor:
    """One evaluation's requests in an engine that is everybody's."""

    def __init__(self, engine: Engine, asked: Evaluation, max_new_tokens: int) -> None:
        self._engine = engine
        self._asked = asked
        self._max_new_tokens = max_new_tokens
        self._running: dict[int, Request] = {}
        self._done: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._unread = 0

    @property
    def idle(self) -> bool:
        return not self._unread

    def room(self) -> int:
        """How many more requests may join the batch: all but the free part, less what others have in it."""
        slots = self._engine.limits.max_requests
        part = max(1, slots // SHARE)
        others = self._engine.pending - len(self._running)
        return max(max(part, slots - part - others) - self._unread, 0)

    def submit(self, number: int, row: Row, prompt_tokens: int) -> None:
        self._unread += 1
        start = time.monotonic()
        asked = self._asked
        sampling = Sampling(
            max_new_tokens=max(1, min(self._max_new_tokens, self._engine.context_length - prompt_tokens)),
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            seed=None if asked.seed is None else (asked.seed + number) % 2**63,
            stop=tuple(asked.stop),
        )
        try:
            request = self._engine.submit(_prompt(row), sampling)
        except RequestError as error:
            self._done.put(Answer(number, row, "", "error", 0.0, error=str(error)))
            return

        def receive(future: "Future[Completion]") -> None:
            self._running.pop(number, None)
            self._done.put(_answer(number, row, future, time.monotonic() - start))

        self._running[number] = request
        request.future.add_done_callback(receive)

    def finished(self) -> list[Answer]:
        """Those that were done since, after a short wait for the first."""
        found: list[Answer] = []
        try:
            item = self._done.get(timeout=TICK_SECONDS)
            while True:
                self._unread -= 1
                if isinstance(item, BaseException):
                    raise item
                found.append(item)
                item = self._done.get_nowait()
        except Empty:
            return found

    def cancel(self) -> None:
        for request in list(self._running.values()):
            request.cancel()


def _answer(number: int, row: Row, future: "Future[Completion]", seconds: float) -> Answer | BaseException:
    error = future.exception()
    if isinstance(error, RequestError):
        return Answer(number, row, "", "error", seconds, error=str(error))
    if error is not None:
        return error
    completion = future.result()
    PROMPT_TOKENS.labels(JobKind.EVALUATION).inc(completion.prompt_tokens)
    COMPLETION_TOKENS.labels(JobKind.EVALUATION).inc(completion.completion_tokens)
    return Answer(
        number,
        row,
        completion.text.replace("\0", "\N{REPLACEMENT CHARACTER}"),  # SQL text holds no NUL
        completion.finish_reason,
        seconds,
        completion.prompt_tokens,
        completion.completion_tokens,
    )


def _prompt(row: Row) -> str:
    return build_prompt(row.instruction, row.input)
