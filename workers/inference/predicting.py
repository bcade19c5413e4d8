"""Predicts the completions of an evaluation's rows: with an engine that also serves other jobs, or with a baseline."""

import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue

from db.tables.evaluations import Evaluation
from db.vocabulary import JobKind
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from models.prompts.templates import PromptError
from models.scoring.baselines import FittedBaseline
from models.serving.engine import Completion, Engine, Request, RequestError, Sampling
from pagewright.telemetry import COMPLETION_TOKENS, PROMPT_TOKENS

WINDOW_ROWS = 1024
"""Rows in memory at once. The longest of them is predicted first, so that none runs alone at the end."""

BASELINE_ROWS = 256
TICK_SECONDS = 0.1
SHARE = 8
"""A share of 1/8 of the engine's batch stays free for generations, and an evaluation uses at least 1/8 of it."""


@dataclass(frozen=True)
class Answer:
    """The prediction of a row.

    If the model could not run on the row, `error` says why, `completion` is empty and `finish_reason` is `error`.
    """

    number: int
    row: Row
    completion: str
    finish_reason: str
    latency_seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None


NumberedRow = tuple[int, Row]


def predict_by_baseline(
    baseline: FittedBaseline, rows: Iterable[NumberedRow], *, in_train: bool
) -> Generator[list[Answer]]:
    """Yield the baseline's answers in batches.

    `in_train` says that the rows are training rows. The baseline then does not answer a row with its own output.
    """
    remaining = iter(rows)
    while batch := list(islice(remaining, BASELINE_ROWS)):
        start = time.monotonic()
        numbers = [number for number, _ in batch]
        texts = baseline.answers([row for _, row in batch], numbers if in_train else None)
        seconds = (time.monotonic() - start) / len(batch)
        yield [Answer(number, row, text, "stop", seconds) for (number, row), text in zip(batch, texts, strict=True)]


def longest_reference(engine: Engine, rows: Iterable[NumberedRow]) -> int:
    """Return the number of tokens of the longest reference, including the end-of-sequence token."""
    remaining = iter(rows)
    longest = 0
    while batch := [row.output for _, row in islice(remaining, BASELINE_ROWS)]:
        longest = max(longest, *engine.count_tokens(batch))
    return longest + 1


def predict_by_engine(
    engine: Engine, prompter: Prompter, evaluation: Evaluation, max_new_tokens: int, rows: Iterable[NumberedRow]
) -> Generator[list[Answer]]:
    """Yield the answers as they finish. Yields an empty list if none has finished for a tenth of a second.

    Closing the generator cancels the pending requests. Raises EngineFailed when the engine dies.
    """
    predictor = _Predictor(engine, evaluation, max_new_tokens, prompter.turn_end)
    remaining = _longest_first(engine, prompter, rows)
    try:
        while True:
            for number, row, prompt in islice(remaining, predictor.room()):
                predictor.submit(number, row, prompt)
            if predictor.idle:
                return
            yield predictor.finished()
    finally:
        predictor.cancel()


Prompt = list[int] | PromptError
"""The tokens of a row's prompt, or why it has none."""


def _longest_first(
    engine: Engine, prompter: Prompter, rows: Iterable[NumberedRow]
) -> Iterator[tuple[int, Row, Prompt]]:
    """Yield each row's number, the row, and its prompt, the longest row of each window first."""
    remaining = iter(rows)
    while window := list(islice(remaining, WINDOW_ROWS)):
        prompts = [_prompt(prompter, row) for _, row in window]
        references = engine.count_tokens([row.output for _, row in window])
        lengths = [0 if isinstance(prompt, PromptError) else len(prompt) for prompt in prompts]
        order = sorted(range(len(window)), key=lambda index: lengths[index] + references[index], reverse=True)
        for index in order:
            yield *window[index], prompts[index]


def _prompt(prompter: Prompter, row: Row) -> Prompt:
    try:
        return prompter.prompt_of(row)
    except PromptError as error:
        return error


class _Predictor:
    """The requests of one evaluation in an engine that also serves other jobs."""

    def __init__(self, engine: Engine, evaluation: Evaluation, max_new_tokens: int, turn_end: int) -> None:
        self._engine = engine
        self._evaluation = evaluation
        self._max_new_tokens = max_new_tokens
        self._turn_end = turn_end
        self._running: dict[int, Request] = {}
        self._done: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._unfinished = 0

    @property
    def idle(self) -> bool:
        return not self._unfinished

    def room(self) -> int:
        """Return how many more requests may be submitted: what the reserved share and other jobs leave of the batch."""
        slots = self._engine.slots
        share = max(1, slots // SHARE)
        others = self._engine.pending - len(self._running)
        return max(max(share, slots - share - others) - self._unfinished, 0)

    def submit(self, number: int, row: Row, prompt: Prompt) -> None:
        self._unfinished += 1
        if isinstance(prompt, PromptError):
            self._done.put(Answer(number, row, "", "error", 0.0, error=str(prompt)))
            return
        start = time.monotonic()
        evaluation = self._evaluation
        sampling = Sampling(
            max_new_tokens=max(1, min(self._max_new_tokens, self._engine.context_length - len(prompt))),
            temperature=evaluation.temperature,
            top_p=evaluation.top_p,
            top_k=evaluation.top_k,
            seed=None if evaluation.seed is None else (evaluation.seed + number) % 2**63,
            stop=tuple(evaluation.stop),
            stop_token_ids=(self._turn_end,),
        )
        try:
            request = self._engine.submit(prompt, sampling)
        except RequestError as error:
            self._done.put(Answer(number, row, "", "error", 0.0, error=str(error)))
            return

        def receive(future: "Future[Completion]") -> None:
            self._running.pop(number, None)
            self._done.put(_answer(number, row, future, time.monotonic() - start))

        self._running[number] = request
        request.future.add_done_callback(receive)

    def finished(self) -> list[Answer]:
        """Return the answers that have finished since the last call. Waits up to `TICK_SECONDS` for the first one."""
        answers: list[Answer] = []
        try:
            item = self._done.get(timeout=TICK_SECONDS)
            while True:
                self._unfinished -= 1
                if isinstance(item, BaseException):
                    raise item
                answers.append(item)
                item = self._done.get_nowait()
        except Empty:
            return answers

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
        completion.text.replace("\0", "\N{REPLACEMENT CHARACTER}"),  # PostgreSQL refuses NUL in text
        completion.finish_reason,
        seconds,
        completion.prompt_tokens,
        completion.completion_tokens,
    )
