"""Fine-tuning jobs on a build worker's runtime, each with a real process that trains."""

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from db import job_transitions
from db.queries import fine_tunes, models, templates
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import ErrorType, JobStatus, ModelSource
from models.prompts.rows import Message, Row
from models.serving.pool import ModelPool
from models.tasks.reports import Checkpoint, Report, Step
from pagewright.settings import get_settings
from tests.databases import on_sqlite
from tests.processes import eventually
from workers.builds.build import Build
from workers.builds.fine_tune import Checkpoints, fine_tune
from workers.builds.merge import merge
from workers.builds.process import LOG
from workers.inference.evaluation import evaluate
from workers.inference.generation import generate
from workers.leases import Interrupt
from workers.roles import WorkerRole
from workers.runtime import Runtime
from workers.sweeper import sweep

PAGE = '<!DOCTYPE html><html lang="en"><head><title>Shop {0}</title></head><body><h1>Shop {0}</h1></body></html>'
ROWS = [(f"Create the page of shop {number}.", "", PAGE.format(number)) for number in range(8)]
FAST = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "warmup_steps": 0, "learning_rate": 5e-3}
LONG = 10_000

Submit = Callable[..., uuid.UUID]


@pytest.fixture
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset(ROWS, test=ROWS[:2])


@pytest.fixture
def submit(as_admin: TestClient, dataset: Dataset) -> Submit:
    def send(
        name: str = "shops",
        lora: dict[str, Any] | None = None,
        load: dict[str, Any] | None = None,
        prompt: dict[str, Any] | None = None,
        **training: Any,
    ) -> uuid.UUID:
        body: dict[str, Any] = {"model": "starter", "dataset": dataset.name, "name": name, "lora": lora or {}}
        body |= {"training": training, "load": load} | (prompt or {})
        response = as_admin.post("/v1/fine-tunes", json=body)
        assert response.status_code == 202, response.text
        return uuid.UUID(response.json()["id"])

    return send


@pytest.fixture
def show(as_admin: TestClient) -> Callable[[uuid.UUID], dict[str, Any]]:
    def get(job_id: uuid.UUID) -> dict[str, Any]:
        body: dict[str, Any] = as_admin.get(f"/v1/fine-tunes/{job_id}").json()
        return body

    return get


Show = Callable[[uuid.UUID], dict[str, Any]]


def curve(client: TestClient, job_id: uuid.UUID) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(f"/v1/fine-tunes/{job_id}/steps").json()["items"]
    return items


def left_behind(runtime: Runtime) -> list[Any]:
    """Work folders, checkpoints and unregistered models that still exist."""
    folders = list(runtime.work_folders.glob("*")) if runtime.work_folders.exists() else []
    with runtime.database.read() as session:
        unknown = [path for path in runtime.artifacts.list("models") if not models.is_registered_at(session, path)]
    return [*folders, *runtime.artifacts.list("checkpoints"), *unknown]


def in_background(runtime: Runtime, job_id: uuid.UUID) -> threading.Thread:
    thread = threading.Thread(target=fine_tune, args=[runtime, job_id])
    thread.start()
    return thread


def trained_steps(client: TestClient, job_id: uuid.UUID) -> int:
    return len(curve(client, job_id))


@on_sqlite
def test_a_fine_tune_makes_an_adapter_that_serves_and_can_be_merged(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient, database: Database
) -> None:
    job_id = submit(max_steps=20, eval_steps=10, **FAST)
    fine_tune(runtime, job_id)
    job = show(job_id)
    assert job["status"] == "succeeded", job
    assert (job["percent_done"], job["remaining_seconds"]) == (100, 0)
    measured = curve(as_admin, job_id)
    assert [step["step"] for step in measured] == list(range(1, 21))
    assert measured[-1]["loss"] < 0.5 * measured[0]["loss"]
    assert measured[19]["eval_loss"] < measured[9]["eval_loss"]
    assert all(step["learning_rate"] and step["grad_norm"] and step["tokens_per_second"] for step in measured[:-1])
    assert left_behind(runtime) == []

    adapter = as_admin.get(f"/v1/models/{job['result_model_id']}").json()
    assert (adapter["name"], adapter["kind"], adapter["parent"]) == ("shops", "adapter", "starter")
    assert (adapter["job_id"], adapter["template"]) == (str(job_id), "pagewright-1")
    assert adapter["parameters"]["training"]["learning_rate"] == FAST["learning_rate"]

    merging = as_admin.post(f"/v1/models/{adapter['id']}/merge", json={"name": "shops-merged"})
    assert merging.status_code == 202, merging.text
    merge(runtime, uuid.UUID(merging.json()["id"]))
    assert as_admin.get(merging.headers["Location"]).json()["status"] == "succeeded"
    with database.read() as session:
        saved = {model.template_sha256 for model in models.by_name(session, ["shops", "shops-merged"]).values()}
        [text] = [templates.text_of(session, str(sha256)) for sha256 in saved]
    assert text is not None
    assert "### Response:" in text, "the merged model is prompted as the adapter was trained"

    serving = Runtime(get_settings(), database, WorkerRole.INFERENCE, ModelPool())
    pages = {name: generated(serving, as_admin, name) for name in ("starter", "shops", "shops-merged")}
    serving.stop()
    assert pages["shops"] == PAGE.format(3) == pages["shops-merged"]
    assert pages["starter"] != pages["shops"]


def generated(serving: Runtime, client: TestClient, model: str, **request: Any) -> str:
    body = {"model": model, "prompt": ROWS[3][0], "max_new_tokens": 100} | request
    job = client.post("/v1/generations", json=body).json()
    generate(serving, uuid.UUID(job["id"]))
    done = client.get(f"/v1/generations/{job['id']}").json()
    assert done["status"] == "succeeded", done
    return str(done["completion"])


@pytest.mark.long
@on_sqlite
def test_an_adapter_trained_in_4_bits_is_served_with_the_load_options_of_the_request(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient, database: Database
) -> None:
    load = {"method": "bitsandbytes", "bits": 4}
    job_id = submit(max_steps=20, load=load, **FAST)
    fine_tune(runtime, job_id)
    job = show(job_id)
    assert job["status"] == "succeeded", job
    assert as_admin.get(f"/v1/models/{job['result_model_id']}").json()["parameters"]["load"] == load
    serving = Runtime(get_settings(), database, WorkerRole.INFERENCE, ModelPool())
    ways = (None, load, {"method": "bitsandbytes", "bits": 8})
    pages = [generated(serving, as_admin, "shops", load=way) for way in ways]
    serving.stop()
    assert pages == [PAGE.format(3)] * 3


CHAT_TEMPLATE = """{% for message in messages %}
{{- '<|bos|>' + message['role'] + '\\n' + message['content'] + '<|eos|>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|bos|>assistant\\n' }}{% endif %}"""


@pytest.mark.long
@on_sqlite
def test_pages_in_fences_are_taught_by_a_template_of_one_s_own_and_scored_without_their_fence(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient, database: Database, make_dataset: Any
) -> None:
    turns = (Message("user", "Hello."), Message("assistant", "Which page?"))
    fenced = [Row(prompt, "", f"Here it is:\n```html\n{page}\n```", turns) for prompt, _, page in ROWS]
    chats = make_dataset(fenced, name="chats")
    plain = make_dataset(ROWS[:2], name="plain", test=[Row(prompt, "", page, turns) for prompt, _, page in ROWS[:3]])
    prompt = {"dataset": chats.name, "template": CHAT_TEMPLATE, "system": "Write HTML."}
    job_id = submit(max_steps=40, prompt=prompt, **FAST)
    fine_tune(runtime, job_id)
    assert show(job_id)["status"] == "succeeded", show(job_id)

    serving = Runtime(get_settings(), database, WorkerRole.INFERENCE, ModelPool())
    scores = {}
    for extract in (None, "none"):
        body = {"model": "shops", "dataset": plain.name, "extract": extract, "max_new_tokens": 200}
        evaluation = as_admin.post("/v1/evaluations", json=body).json()
        evaluate(serving, uuid.UUID(evaluation["id"]))
        done = as_admin.get(f"/v1/evaluations/{evaluation['id']}").json()
        scores[done["extract"]] = [done["scores"][metric]["value"] for metric in ("exact_match", "validity")]
        [first, *_] = as_admin.get(f"/v1/evaluations/{evaluation['id']}/predictions").json()["items"]
        assert first["completion"] == fenced[0].output
    serving.stop()
    assert scores == {"html": [1, 1], "none": [0, 0]}


@on_sqlite
@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"max_seq_length": 100_000}, ErrorType.INVALID_REQUEST, "context length is 2048"),
        ({"lora": {"target_modules": ["W_pack"]}}, ErrorType.INVALID_REQUEST, "it has down_proj"),
        ({"learning_rate": 1e20, "warmup_steps": 0, "max_steps": 30}, ErrorType.DIVERGED, "lower learning_rate"),
    ],
    ids=["context", "modules", "diverged"],
)
def test_an_impossible_fine_tune_fails_and_says_what_to_change(
    runtime: Runtime, submit: Submit, show: Show, options: dict[str, Any], error_type: ErrorType, message: str
) -> None:
    job_id = submit(**options)
    fine_tune(runtime, job_id)
    job = show(job_id)
    assert (job["status"], job["error"]["type"]) == ("failed", error_type)
    assert message in job["error"]["message"]
    assert left_behind(runtime) == []


@on_sqlite
def test_a_base_model_that_cannot_be_loaded_fails_the_job(
    runtime: Runtime, database: Database, as_admin: TestClient, dataset: Dataset, show: Show
) -> None:
    with database.write() as session:
        models.add(session, "missing", ModelSource.LOCAL, "not-there", None)
    job = as_admin.post("/v1/fine-tunes", json={"model": "missing", "dataset": dataset.name, "name": "shops"}).json()
    fine_tune(runtime, uuid.UUID(job["id"]))
    assert show(job["id"])["error"]["type"] == ErrorType.MODEL_UNAVAILABLE


@on_sqlite
def test_a_job_fails_and_leaves_no_files_if_its_model_name_was_taken_meanwhile(
    runtime: Runtime, submit: Submit, show: Show, database: Database
) -> None:
    job_id = submit(max_steps=1, **FAST)
    with database.write() as session:
        models.add(session, "shops", ModelSource.BUNDLED, "starter", None)
    fine_tune(runtime, job_id)
    assert "name" in show(job_id)["error"]["message"]
    assert left_behind(runtime) == []


@on_sqlite
def test_a_job_whose_name_was_taken_fails_even_if_its_files_can_not_be_deleted(
    runtime: Runtime, submit: Submit, show: Show, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(max_steps=1, **FAST)
    with database.write() as session:
        models.add(session, "shops", ModelSource.BUNDLED, "starter", None)

    def refuse(path: str) -> None:
        raise PermissionError(f"{path} may not be deleted")

    with monkeypatch.context() as refusing:
        refusing.setattr(runtime.artifacts, "delete", refuse)
        fine_tune(runtime, job_id)
    job = show(job_id)
    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert "name" in job["error"]["message"]
    sweep(database, runtime.artifacts)
    assert left_behind(runtime) == []


def test_cancelling_ends_the_process_and_keeps_only_the_steps(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient
) -> None:
    job_id = submit(max_steps=LONG, save_steps=2, **FAST)
    training = in_background(runtime, job_id)
    eventually(lambda: trained_steps(as_admin, job_id) > 3, "measured steps")
    as_admin.post(f"/v1/jobs/{job_id}/cancel")
    runtime.leases.heartbeat()
    training.join()
    assert show(job_id)["status"] == "cancelled"
    assert curve(as_admin, job_id)
    assert left_behind(runtime) == []
    assert psutil.Process().children() == [child for child in psutil.Process().children() if not is_task(child)]


def is_task(process: psutil.Process) -> bool:
    # By the file that it prints to: a forked process has the command line of the one that it was forked off.
    return any(Path(file.path).name == LOG for file in process.open_files())


def test_a_job_given_back_resumes_on_another_worker_with_the_same_losses(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient, database: Database
) -> None:
    options = {"max_steps": 8, "save_steps": 50, "warmup_steps": 1, "per_device_train_batch_size": 2}
    whole = submit("whole", **options)
    fine_tune(runtime, whole)
    stopped = submit("stopped", **options)
    training = in_background(runtime, stopped)
    eventually(lambda: trained_steps(as_admin, stopped) >= 2, "measured steps")
    runtime.leases.interrupt_all(Interrupt.SHUTDOWN)
    training.join()
    job = show(stopped)
    assert (job["status"], job["attempt"]) == ("queued", 1)
    assert job["checkpoint_step"] >= 2

    fine_tune(Runtime(get_settings(), database, WorkerRole.BUILD, None), stopped)
    assert show(stopped)["status"] == "succeeded"
    for one, other in zip(curve(as_admin, whole), curve(as_admin, stopped), strict=True):
        for value in ("step", "loss", "learning_rate", "grad_norm", "epoch"):
            assert one[value] == pytest.approx(other[value], abs=1e-6)
    assert left_behind(runtime) == []


@on_sqlite
def test_a_crashed_process_costs_an_attempt_and_the_next_one_resumes_from_the_checkpoint(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient
) -> None:
    job_id = submit(max_steps=12, save_steps=2, **FAST)
    training = in_background(runtime, job_id)
    eventually(lambda: (show(job_id)["checkpoint_step"] or 0) >= 2, "a stored checkpoint")
    [task] = [child for child in psutil.Process().children() if is_task(child)]
    task.kill()
    training.join()
    job = show(job_id)
    assert (job["status"], job["attempt"]) == ("queued", 1)
    fine_tune(runtime, job_id)
    job = show(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert [step["step"] for step in curve(as_admin, job_id)] == list(range(1, 13))
    assert left_behind(runtime) == []


def test_artifacts_of_lost_attempts_are_deleted_once_the_job_has_ended(
    runtime: Runtime, submit: Submit, database: Database, tmp_path: Path, as_admin: TestClient
) -> None:
    job_id = submit()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights").touch()
    for path in (f"checkpoints/{job_id}/1-50", f"models/{job_id}.1", "models/somebody-elses"):
        runtime.artifacts.put_folder(tmp_path / "files", path)
    sweep(database, runtime.artifacts)
    assert len(left_behind(runtime)) == 3
    as_admin.post(f"/v1/jobs/{job_id}/cancel")
    sweep(database, runtime.artifacts)
    assert left_behind(runtime) == ["models/somebody-elses"]


def test_a_lost_lease_ends_the_process_and_changes_nothing(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient, database: Database
) -> None:
    job_id = submit(max_steps=LONG, **FAST)
    training = in_background(runtime, job_id)
    eventually(lambda: trained_steps(as_admin, job_id) > 1, "measured steps")
    with database.write() as session:
        [lease] = runtime.leases.held()
        job_transitions.requeue(session, [lease.claim], "a test took it")
    before = show(job_id)
    runtime.leases.heartbeat()
    training.join()
    assert show(job_id) == before
    assert before["status"] == JobStatus.QUEUED


@on_sqlite
def test_a_worker_without_its_lease_keeps_the_checkpoint_that_another_resumes_from(
    runtime: Runtime, submit: Submit, show: Show, database: Database
) -> None:
    """Without a heartbeat the worker trains to the end, and tries to store more checkpoints."""
    job_id = submit(max_steps=14, save_steps=2, **FAST)
    training = in_background(runtime, job_id)
    eventually(lambda: (show(job_id)["checkpoint_step"] or 0) >= 2, "a stored checkpoint")
    with database.write() as session:
        [lease] = runtime.leases.held()
        job_transitions.requeue(session, [lease.claim], "a test took it")
        row = fine_tunes.get(session, job_id, owner=None)
    assert row is not None
    assert row.request.checkpoint is not None
    training.join()
    assert show(job_id)["status"] == JobStatus.QUEUED
    assert runtime.artifacts.files(row.request.checkpoint)

    fine_tune(runtime, job_id)
    job = show(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


SMALL_MEMORY = """
import resource, sys, threading, time

def limit():
    while not hasattr(sys.modules.get("models.fine_tuning.training"), "fine_tune"):  # until all is imported
        time.sleep(0.01)
    time.sleep(0.5)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 1500 * 2**20,) * 2)

if "models.tasks.process" in sys.orig_argv:
    threading.Thread(target=limit, daemon=True).start()
"""


@on_sqlite
def test_a_step_is_stored_only_after_the_checkpoints_before_it(
    runtime: Runtime, submit: Submit, as_admin: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job_id = submit()
    [lease] = runtime.leases.claim([job_id], 60)
    shown = []

    def put_folder(source: Path, path: str) -> None:
        shown.append((path.rsplit("-", 1)[-1], trained_steps(as_admin, job_id)))

    def measured(step: int) -> Step:
        return Step(step, epoch=0.1, percent_done=step, remaining_seconds=1, loss=2.0)

    monkeypatch.setattr(runtime.artifacts, "put_folder", put_folder)
    folder = str(tmp_path)
    reports: list[Report] = [measured(1), measured(2), Checkpoint(2, folder), measured(3), Checkpoint(3, folder)]
    Checkpoints(Build(runtime, lease, tmp_path)).recorder.receive([*reports, measured(4)])
    assert shown == [("2", 2), ("3", 3)]
    assert trained_steps(as_admin, job_id) == 4


@on_sqlite
def test_training_continues_if_an_old_checkpoint_can_not_be_deleted(
    runtime: Runtime, submit: Submit, show: Show, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job_id = submit()
    [lease] = runtime.leases.claim([job_id], 60)

    def refuse(path: str) -> None:
        raise PermissionError(f"{path} may not be deleted")

    monkeypatch.setattr(runtime.artifacts, "delete", refuse)
    for step in (2, 3):
        (tmp_path / str(step)).mkdir()
    recorder = Checkpoints(Build(runtime, lease, tmp_path)).recorder
    recorder.receive([Checkpoint(step, str(tmp_path / str(step))) for step in (2, 3)])
    assert show(job_id)["checkpoint_step"] == 3


@pytest.mark.long
@on_sqlite
def test_training_continues_with_half_the_batch_size_when_memory_runs_out(
    runtime: Runtime,
    make_dataset: Callable[..., Dataset],
    as_admin: TestClient,
    show: Show,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The operating system limits the memory of the training process."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SMALL_MEMORY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    large = make_dataset([("Create a long page.", "", "<p>word</p>" * 250)] * 16, name="large")
    training = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "max_steps": 1}
    body = {"model": "starter", "dataset": large.name, "name": "large", "training": training}
    job_id = as_admin.post("/v1/fine-tunes", json=body).json()["id"]
    fine_tune(runtime, uuid.UUID(job_id))
    job = show(job_id)
    assert job["status"] == "succeeded", job
    halvings = [event["message"] for event in job["events"] if event["type"] == "out-of-memory"]
    assert "per_device_train_batch_size 8 instead of 16" in halvings[0]
    batch = job["training"]["per_device_train_batch_size"]
    assert batch * job["training"]["gradient_accumulation_steps"] == 16
    assert batch == 16 // 2 ** len(halvings)
