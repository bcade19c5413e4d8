"""Generation jobs: claim the message's jobs, run them in their model's engine, store what comes out."""

import json
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial

from sqlalchemy.orm import Session

from db.queries import generations
from db.queries.generations import Completed
from db.tables.generations import Generation
from db.tables.models import Model
from db.vocabulary import ErrorType, JobKind
from models.loading.refs import ModelLoadError
from models.prompts.template import build_prompt
from models.serving.engine import Completion, EngineFailed, FinishReason, RequestError, Sampling
from models.serving.in_process.engine import Engine, Request
from pagewright.telemetry import COMPLETION_TOKENS, PROMPT_TOKENS
from workers import queue
from workers.celery_app import app
from workers.leases import Interrupt, Lease, about_jobs
from workers.model_refs import model_ref
from workers.runtime import Runtime, get_runtime

log = logging.getLogger(__name__)


@app.task(name=JobKind.GENERATION.value)
def run(job_ids: list[str]) -> None:
    generate(get_runtime(), [uuid.UUID(job_id) for job_id in job_ids])


def generate(runtime: Runtime, job_ids: list[uuid.UUID]) -> None:
    """Bring those of the jobs that are still queued to their end, or back to the queue."""
    if runtime.leases.draining:
        queue.publish(JobKind.GENERATION, job_ids)
        return
    leases = runtime.leases.claim(job_ids, runtime.settings.generation_time_limit_seconds)
    if not leases:
        return
    with about_jobs(leases):
        try:
            _run_claimed(runtime, leases)
        except Exception as error:
            _send_back(runtime, leases, error)


def _run_claimed(runtime: Runtime, leases: list[Lease]) -> None:
    with runtime.database.read() as session:
        rows = generations.of_jobs(session, [lease.job_id for lease in leases])
    by_id = {lease.job_id: lease for lease in leases}
    work: dict[tuple[Model, str], list[tuple[Lease, Generation]]] = defaultdict(list)
    for generation, model in rows:
        work[model, json.dumps(generation.load)].append((by_id[generation.job_id], generation))
    for (model, load), items in work.items():
        leases = [lease for lease, _ in items]
        try:
            ref = model_ref(runtime.database, model, runtime.settings, runtime.artifacts, json.loads(load))
            with runtime.pool.borrow(ref) as engine:
                _run_on(runtime, engine, items)
        except ModelLoadError as error:
            runtime.leases.fail(leases, ErrorType.MODEL_UNAVAILABLE, str(error))
        except Exception as error:  # the network, or the memory: the jobs of other models are not to suffer from it
            _send_back(runtime, leases, error)


def _send_back(runtime: Runtime, leases: list[Lease], error: Exception) -> None:
    """What the code here does not foresee must not strand the jobs until their leases run out."""
    log.error("generation jobs are sent back", exc_info=error)
    held = {lease.claim for lease in runtime.leases.held()}
    runtime.leases.requeue([lease for lease in leases if lease.claim in held], f"{type(error).__name__}: {error}")


def _run_on(runtime: Runtime, engine: Engine, items: list[tuple[Lease, Generation]]) -> None:
    running: dict[Future[Completion], Lease] = {}
    for lease, generation in items:
        try:
            with about_jobs([lease]):
                request = _submit(engine, generation)
        except RequestError as error:
            runtime.leases.fail([lease], ErrorType.INVALID_REQUEST, str(error))
        except EngineFailed as error:
            runtime.leases.requeue([lease], str(error))
        else:
            lease.on_interrupt(request.cancel)
            running[request.future] = lease
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        _settle(runtime, [(running.pop(future), future) for future in done])


def _submit(engine: Engine, generation: Generation) -> Request:
    return engine.submit(
        build_prompt(generation.prompt, generation.input),
        Sampling(
            max_new_tokens=generation.max_new_tokens,
            temperature=generation.temperature,
            top_p=generation.top_p,
            top_k=generation.top_k,
            seed=generation.seed,
            stop=tuple(generation.stop),
        ),
    )


def _settle(runtime: Runtime, done: Iterable[tuple[Lease, Future[Completion]]]) -> None:
    """End the jobs of finished requests: all that ended alike in one transaction."""
    ended: dict[Interrupt | None, list[Lease]] = defaultdict(list)
    lost: dict[str, list[Lease]] = defaultdict(list)
    results: dict[uuid.UUID, Completed] = {}
    for lease, future in done:
        error = future.exception()
        if isinstance(error, RequestError):
            runtime.leases.fail([lease], ErrorType.INVALID_REQUEST, str(error))
            continue
        if error is not None:
            lost[f"{type(error).__name__}: {error}"].append(lease)
            continue
        completion = future.result()
        PROMPT_TOKENS.labels(JobKind.GENERATION).inc(completion.prompt_tokens)
        COMPLETION_TOKENS.labels(JobKind.GENERATION).inc(completion.completion_tokens)
        # A request that finished before the interrupt reached it has its whole result: keep it.
        finished = completion.finish_reason != FinishReason.CANCELLED
        ended[None if finished else lease.interrupted].append(lease)
        results[lease.job_id] = Completed(
            completion=completion.text.replace("\0", "\N{REPLACEMENT CHARACTER}"),  # SQL text holds no NUL
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )
    store = partial(_store, results)
    leases = runtime.leases
    leases.succeed(ended[None], store)
    leases.cancel(ended[Interrupt.CANCELLED], store)
    leases.give_back(ended[Interrupt.SHUTDOWN])
    leases.lose(ended[Interrupt.LEASE_LOST])
    limit = runtime.settings.generation_time_limit_seconds
    leases.fail(ended[Interrupt.TIME_LIMIT], ErrorType.TIME_LIMIT, f"not done {limit:g} seconds after its claim", store)
    for reason, group in lost.items():
        leases.requeue(group, reason)


def _store(results: dict[uuid.UUID, Completed], session: Session, job_ids: set[uuid.UUID]) -> None:
    generations.store(session, {job_id: results[job_id] for job_id in job_ids})
