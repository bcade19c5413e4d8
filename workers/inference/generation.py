"""Generation jobs: each runs in its model's engine."""

import json
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
from db.vocabulary import JobKind
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from models.prompts.templates import Template, default_extract
from models.serving.engine import Completion, Engine, FinishReason, Request, Sampling
from pagewright.telemetry import COMPLETION_TOKENS, PROMPT_TOKENS
from workers.inference.engines import borrow_engine
from workers.jobs import end_on_error, job
from workers.leases import Interrupt, Lease, job_log_fields
from workers.prompting import prompt_options
from workers.runtime import Runtime

Prompted = tuple[Template, str | None]
"""The template of a request, and the part of the completion that the job names as the page."""


@job(JobKind.GENERATION)
def generate(runtime: Runtime, leases: list[Lease]) -> None:
    """Run the jobs of each model together. An error of one model does not affect the jobs of another."""
    with runtime.database.read() as session:
        rows = generations.of_jobs(session, [lease.job_id for lease in leases])
    lease_of = {lease.job_id: lease for lease in leases}
    by_model: dict[tuple[Model, str], list[tuple[Lease, Generation]]] = defaultdict(list)
    for generation, model in rows:
        by_model[model, json.dumps(generation.load)].append((lease_of[generation.job_id], generation))
    for (model, load_options), jobs in by_model.items():
        of_model = [lease for lease, _ in jobs]
        with (
            end_on_error(runtime.leases, of_model),
            borrow_engine(runtime, model, json.loads(load_options), of_model) as engine,
        ):
            _run_on(runtime, engine, model, jobs)


def _run_on(runtime: Runtime, engine: Engine, model: Model, jobs: list[tuple[Lease, Generation]]) -> None:
    running: dict[Future[Completion], tuple[Lease, Prompted]] = {}
    prompters: dict[str, Prompter] = {}
    for lease, generation in jobs:
        with job_log_fields([lease]), end_on_error(runtime.leases, [lease]):
            prompted = (generation.template, generation.template_sha256, generation.system)
            key = json.dumps([*prompted, generation.chat_template_kwargs])
            if key not in prompters:
                options = prompt_options(runtime, generation, model)
                prompters[key] = Prompter(engine.tokenizer, options, engine.end)
            prompter = prompters[key]
            request = _submit(engine, generation, prompter)
            lease.on_interrupt(request.cancel)
            running[request.future] = lease, (prompter.template, generation.extract)
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        _finish(runtime, engine, [(*running.pop(future), future) for future in done])


def _submit(engine: Engine, generation: Generation, prompter: Prompter) -> Request:
    return engine.submit(
        prompter.prompt_of(Row(generation.prompt, generation.input, "")),
        Sampling(
            stop_token_ids=(prompter.turn_end,),
            max_new_tokens=generation.max_new_tokens,
            temperature=generation.temperature,
            top_p=generation.top_p,
            top_k=generation.top_k,
            seed=generation.seed,
            stop=tuple(generation.stop),
        ),
    )


def _finish(runtime: Runtime, engine: Engine, done: Iterable[tuple[Lease, Prompted, Future[Completion]]]) -> None:
    """End the jobs of finished requests: those that ended for the same reason in one transaction."""
    by_interrupt: dict[Interrupt | None, list[Lease]] = defaultdict(list)
    results: dict[uuid.UUID, Completed] = {}
    for lease, (template, extract), future in done:
        with job_log_fields([lease]), end_on_error(runtime.leases, [lease]):
            completion = future.result()
            PROMPT_TOKENS.labels(JobKind.GENERATION).inc(completion.prompt_tokens)
            COMPLETION_TOKENS.labels(JobKind.GENERATION).inc(completion.completion_tokens)
            # A request that finished before the interrupt reached it has its whole result, which is kept.
            finished = completion.finish_reason != FinishReason.CANCELLED
            by_interrupt[None if finished else lease.interrupted].append(lease)
            results[lease.job_id] = Completed(
                completion=completion.text.replace("\0", "\N{REPLACEMENT CHARACTER}"),  # PostgreSQL refuses NUL in text
                finish_reason=completion.finish_reason,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                template=template.name,
                template_text=template.text,
                extract=extract or default_extract(template.name),
                engine=engine.name,
                engine_version=engine.version,
            )
    for interrupt, leases in by_interrupt.items():
        runtime.leases.finish(leases, interrupt, partial(_store, results))


def _store(results: dict[uuid.UUID, Completed], session: Session, job_ids: set[uuid.UUID]) -> None:
    generations.store(session, {job_id: results[job_id] for job_id in job_ids})
