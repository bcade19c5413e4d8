import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from db import job_transitions
from db.queries import models
from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import ErrorType, JobStatus, ModelKind, ModelSource, QueueName
from models.loading.loader import default_device, load
from models.loading.merging import merge
from models.loading.refs import ModelRef, Source
from models.prompts.templates import build_prompt
from pagewright.artifacts import ArtifactStore, get_artifacts
from pagewright.settings import get_settings
from tests.adapters import generated, make_adapter, plain_peft
from tests.databases import on_sqlite
from tests.models import architectures
from workers import queue
from workers.inference.generation import generate
from workers.roles import WorkerRole
from workers.runtime import Runtime

SubmitJobs = Callable[..., list[Job]]
Change = Callable[..., None]
Read = Callable[[uuid.UUID], GenerationRow]
MakeModel = Callable[..., Model]

STARTER = ModelRef(Source.BUNDLED, "starter", None)


def test_a_model_shows_which_engine_serves_it_and_why(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, tmp_path: Path, database: Database
) -> None:
    model, tokenizer = architectures.make("opt")
    model.save_pretrained(tmp_path / "files")
    tokenizer.save_pretrained(tmp_path / "files")
    get_artifacts().put_folder(tmp_path / "files", "models/opt")
    with database.write() as session:
        starter = models.by_name(session, ["starter"])["starter"].id
        options: dict[str, Any] = dict.fromkeys(("dataset_id", "template", "parameters", "job_id"))
        opt = models.add_result_model(
            session, name="opt", kind=ModelKind.FULL, location="models/opt", parent_id=starter, **options
        )
        assert opt is not None
    plain, paged = submit_jobs(2)
    change(plain.id, model_id=opt.id, max_new_tokens=3)
    change(paged.id, max_new_tokens=3)
    for job in (plain, paged):
        generate(runtime, job.id)
    with database.read() as session:
        rows = {name: models.get_by_name(session, name) for name in ("opt", "starter")}
    assert rows["opt"] is not None
    assert rows["opt"].engine == "transformers-plain"
    assert "can't run OPTForCausalLM" in str(rows["opt"].engine_reason)
    assert rows["starter"] is not None
    assert (rows["starter"].engine, rows["starter"].engine_reason) == ("transformers-paged", None)


def test_a_job_succeeds_with_the_completion_of_its_model(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read
) -> None:
    [job] = submit_jobs()
    change(job.id, max_new_tokens=20)
    generate(runtime, job.id)
    row = read(job.id)
    assert row.job.status == JobStatus.SUCCEEDED
    assert row.generation.completion
    assert row.generation.finish_reason == "length"
    assert row.generation.completion_tokens == 20
    assert row.generation.prompt_tokens is not None
    assert (row.generation.engine, row.generation.engine_version) == ("transformers-paged", transformers.__version__)
    assert runtime.leases.held() == []


def test_an_invalid_request_fails_only_its_own_job_and_says_why(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read
) -> None:
    too_long, well = submit_jobs(2)
    change(too_long.id, prompt="page " * 5000)
    change(well.id, max_new_tokens=5)
    generate(runtime, too_long.id, well.id)
    failed = read(too_long.id).job
    assert (failed.status, failed.error_type) == (JobStatus.FAILED, ErrorType.INVALID_REQUEST)
    assert failed.error_message is not None
    assert "2048" in failed.error_message
    assert read(well.id).job.status == JobStatus.SUCCEEDED


def test_a_model_that_can_not_be_loaded_fails_only_its_own_jobs(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read, database: Database
) -> None:
    with database.write() as session:
        missing = models.add(session, "missing", ModelSource.LOCAL, "not-there", None)
        assert missing is not None
    stranded, well = submit_jobs(2)
    change(stranded.id, model_id=missing.id)
    change(well.id, max_new_tokens=5)
    generate(runtime, stranded.id, well.id)
    failed = read(stranded.id).job
    assert (failed.status, failed.error_type) == (JobStatus.FAILED, ErrorType.MODEL_UNAVAILABLE)
    assert read(well.id).job.status == JobStatus.SUCCEEDED


def test_an_adapter_is_served_as_soon_as_it_is_registered(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read, make_model: MakeModel, tmp_path: Path
) -> None:
    under_adapter, over_base = submit_jobs(2)
    change(over_base.id, max_new_tokens=40)
    generate(runtime, over_base.id)
    folder = make_adapter(tmp_path / "adapter")
    adapter = make_model(files=Path(folder))
    change(under_adapter.id, model_id=adapter.id, max_new_tokens=40)
    generate(runtime, under_adapter.id)
    completion = read(under_adapter.id).generation.completion
    expected = generated(plain_peft(folder, default_device()), build_prompt("Create a page."), 40)
    if default_device() == "cpu":  # the GPU's bfloat16 need not agree with float32 to the token
        assert completion == expected
    assert completion != read(over_base.id).generation.completion


@on_sqlite
def test_jobs_of_one_message_may_have_different_load_options(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_adapter(tmp_path / "adapter")
    adapter = make_model(files=Path(folder))
    ways: list[tuple[int | None, Model | None]] = [(None, None), (8, None), (4, None), (4, adapter), (4, None)]
    jobs = submit_jobs(len(ways))
    for job, (bits, model) in zip(jobs, ways, strict=True):
        change(job.id, max_new_tokens=40, load=bits and {"method": "bitsandbytes", "bits": bits})
        if model is not None:
            change(job.id, model_id=model.id)
    generate(runtime, *(job.id for job in jobs))
    rows = [read(job.id) for job in jobs]
    assert [row.job.status for row in rows] == [JobStatus.SUCCEEDED] * len(ways), [
        row.job.error_message for row in rows
    ]
    texts = [row.generation.completion for row in rows]
    if default_device() == "cpu":  # the GPU's bfloat16 need not agree with itself to the token
        refs = [
            ModelRef(Source.BUNDLED, "starter", adapter=folder if model else None, bitsandbytes=bits)
            for bits, model in ways
        ]
        assert texts == [generated(load(ref)[0], build_prompt("Create a page."), 40) for ref in refs]


@on_sqlite
def test_load_options_for_a_quantized_model_fail_only_the_jobs_that_have_them(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = tmp_path / "quantized"
    merge(ModelRef(Source.BUNDLED, "starter", adapter=make_adapter(tmp_path / "adapter")), folder)
    (folder / "quantize_config.json").write_text('{"bits": 4, "group_size": 32}')
    quantized = make_model("quantized", files=folder, kind=ModelKind.FULL)
    stranded, well = submit_jobs(2)
    change(stranded.id, model_id=quantized.id, load={"method": "bitsandbytes", "bits": 4})
    change(well.id, max_new_tokens=5)
    generate(runtime, stranded.id, well.id)
    failed = read(stranded.id).job
    assert (failed.status, failed.error_type) == (JobStatus.FAILED, ErrorType.MODEL_UNAVAILABLE)
    assert failed.error_message is not None
    assert "leave out `load`" in failed.error_message
    assert read(well.id).job.status == JobStatus.SUCCEEDED


def test_a_merged_model_is_served_alone_and_with_an_adapter(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read, make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_adapter(tmp_path / "adapter")
    merge(ModelRef(Source.BUNDLED, "starter", adapter=folder), tmp_path / "merged")
    merged = make_model("merged", files=tmp_path / "merged", kind=ModelKind.FULL)
    again = make_model("again", files=Path(folder), parent_id=merged.id)
    jobs = submit_jobs(2)
    for job, model in zip(jobs, (merged, again), strict=True):
        change(job.id, model_id=model.id, max_new_tokens=10)
    generate(runtime, *(job.id for job in jobs))
    assert [read(job.id).job.status for job in jobs] == [JobStatus.SUCCEEDED] * 2


def test_a_model_whose_files_are_missing_fails_only_its_own_jobs(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read, make_model: MakeModel
) -> None:
    gone, on_an_adapter = make_model("gone"), make_model("on-an-adapter")
    stacked = make_model("stacked", parent_id=on_an_adapter.id)
    runtime.artifacts.delete(gone.location)
    jobs = submit_jobs(3)
    change(jobs[0].id, model_id=gone.id)
    change(jobs[1].id, model_id=stacked.id)
    change(jobs[2].id, max_new_tokens=5)
    generate(runtime, *(job.id for job in jobs))
    for job, name in zip(jobs, ("gone", "stacked"), strict=False):
        failed = read(job.id).job
        assert (failed.status, failed.error_type) == (JobStatus.FAILED, ErrorType.MODEL_UNAVAILABLE)
        assert failed.error_message is not None
        assert name in failed.error_message
    assert read(jobs[2].id).job.status == JobStatus.SUCCEEDED


def test_an_artifact_store_that_is_down_costs_an_attempt_of_the_jobs_that_need_it(
    runtime: Runtime,
    submit_jobs: SubmitJobs,
    change: Change,
    read: Read,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    adapter = make_model(files=Path(make_adapter(tmp_path / "adapter")))
    waiting, well = submit_jobs(2)
    change(waiting.id, model_id=adapter.id, max_new_tokens=5)
    change(well.id, max_new_tokens=5)

    def away(*_: object) -> None:
        raise OSError("no route to host")

    with monkeypatch.context() as outage:
        outage.setattr(ArtifactStore, "local_folder", away)
        generate(runtime, waiting.id, well.id)
    assert (read(waiting.id).job.status, read(waiting.id).job.attempt) == (JobStatus.QUEUED, 1)
    assert read(well.id).job.status == JobStatus.SUCCEEDED
    generate(runtime, waiting.id)
    assert read(waiting.id).job.status == JobStatus.SUCCEEDED


def test_the_same_seed_gives_the_same_page(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read
) -> None:
    jobs = submit_jobs(3)
    for job, seed in zip(jobs, (1, 1, 2), strict=True):
        change(job.id, temperature=50.0, seed=seed, max_new_tokens=40)
    generate(runtime, *(job.id for job in jobs))
    first, again, other = (read(job.id).generation.completion for job in jobs)
    assert first == again != other


def test_jobs_of_a_dead_engine_run_again_on_a_new_one(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read
) -> None:
    [job] = submit_jobs()
    change(job.id, max_new_tokens=30)
    with runtime.pool.borrow(STARTER) as engine:
        engine.close()
    for _ in range(2):
        generate(runtime, job.id)
    row = read(job.id)
    assert row.job.status == JobStatus.SUCCEEDED
    assert row.job.attempt <= 2


def test_a_job_over_its_time_limit_fails_and_names_the_limit(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read, configure: Callable[..., None]
) -> None:
    [job] = submit_jobs()
    configure(generation_time_limit_seconds=0.01)
    impatient = Runtime(get_settings(), runtime.database, WorkerRole.INFERENCE, runtime.pool)
    change(job.id, temperature=50.0, seed=7, max_new_tokens=1800)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.1):
            impatient.leases.heartbeat()

    beating = threading.Thread(target=beat)
    beating.start()
    generate(impatient, job.id)
    ended.set()
    beating.join()
    failed = read(job.id)
    assert (failed.job.status, failed.job.error_type) == (JobStatus.FAILED, ErrorType.TIME_LIMIT)
    assert failed.job.error_message is not None
    assert "0.01 seconds" in failed.job.error_message


def test_a_draining_worker_leaves_jobs_to_others(runtime: Runtime, submit_jobs: SubmitJobs, read: Read) -> None:
    [job] = submit_jobs()
    runtime.leases.draining = True
    generate(runtime, job.id)
    assert read(job.id).job.status == JobStatus.QUEUED
    assert queue.oldest_message(QueueName.GENERATION) == job.id


def test_a_job_cancelled_while_queued_never_runs(
    runtime: Runtime, submit_jobs: SubmitJobs, read: Read, database: Database
) -> None:
    [job] = submit_jobs()
    with database.write() as session:
        job_transitions.request_cancel(session, job.id)
    generate(runtime, job.id)
    assert (read(job.id).job.status, read(job.id).job.attempt) == (JobStatus.CANCELLED, 0)


def test_an_unexpected_error_costs_an_attempt_and_is_the_reason_of_the_failure(
    runtime: Runtime, submit_jobs: SubmitJobs, change: Change, read: Read
) -> None:
    [job] = submit_jobs(max_attempts=1)
    change(job.id, temperature=-1.0)  # the API lets no such value through
    generate(runtime, job.id)
    failed = read(job.id).job
    assert (failed.status, failed.error_type) == (JobStatus.FAILED, ErrorType.ATTEMPTS_EXHAUSTED)
    assert failed.error_message is not None
    assert "temperature" in failed.error_message
