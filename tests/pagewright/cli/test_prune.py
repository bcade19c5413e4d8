"""`pagewright prune` as an operator runs it, with the artifact store beside the database."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from typer.testing import CliRunner

from db.session import Database
from db.tables.api_keys import ApiKey
from db.tables.datasets import Dataset
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobKind, JobStatus, Role
from pagewright.artifacts import get_artifacts
from pagewright.cli.app import app
from pagewright.cli.prune import parse_age
from tests.api.helpers import REQUEST
from tests.ids import id_of

OLD = datetime.now(UTC) - timedelta(days=60)


def pruned(*arguments: str) -> str:
    """Run the command, which must succeed, and return its output."""
    result = CliRunner().invoke(app, ["prune", "--older-than", "30d", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def add_job(database: Database, make_key: Callable[[Role], tuple[ApiKey, str]]) -> Callable[..., uuid.UUID]:
    """Stores a merge job, without its own row, that was submitted and ended two months ago."""
    key, _ = make_key(Role.ADMIN)

    def add(status: JobStatus = JobStatus.FAILED, at: datetime = OLD) -> uuid.UUID:
        job_id = id_of(at)
        with database.write() as session:
            session.add(
                Job(
                    id=job_id,
                    kind=JobKind.MERGE,
                    status=status,
                    api_key_id=key.id,
                    max_attempts=3,
                    created_at=at,
                    published_at=at,
                    finished_at=at if status.final else None,
                )
            )
        return job_id

    return add


def put(path: str, tmp_path: Path) -> str:
    """Store an artifact of three bytes, and return its path."""
    folder = tmp_path / "an-artifact"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("abc")
    get_artifacts().put_folder(folder, path)
    return path


def test_artifacts_that_no_row_names_are_deleted_and_others_are_kept(
    add_job: Callable[..., uuid.UUID],
    make_model: Callable[..., Model],
    make_dataset: Callable[..., Dataset],
    tmp_path: Path,
) -> None:
    make_dataset([("Create a page.", "", "<p>")], name="pages")
    merge = add_job(JobStatus.SUCCEEDED)
    folder = tmp_path / "a-model"
    folder.mkdir()
    (folder / "file").write_text("x")
    model = make_model(name=f"{merge}.1", files=folder, job_id=merge)
    gone = id_of(OLD)
    expected = [
        put(f"checkpoints/{add_job()}", tmp_path),
        put(f"models/{add_job()}.2", tmp_path),
        put(f"models/{merge}.2", tmp_path),
        put(f"checkpoints/{gone}", tmp_path),
        put(f"models/{gone}.1", tmp_path),
    ]
    kept = [
        model.location,
        "datasets/pages",
        put(f"checkpoints/{add_job(JobStatus.QUEUED)}", tmp_path),
        put(f"models/{add_job(JobStatus.RUNNING)}.1", tmp_path),
        put(f"models/{id_of(datetime.now(UTC))}.1", tmp_path),
        put("models/not-ours", tmp_path),
    ]
    assert "would delete 2 merge jobs" in (output := pruned("--dry-run"))
    assert "would delete 5 artifacts that no row of the database names, 15 bytes" in output
    assert all(get_artifacts().files(path) for path in expected + kept)

    assert "deleted 2 merge jobs" in (output := pruned())
    assert "deleted 5 artifacts that no row of the database names, 15 bytes" in output
    assert [path for path in expected + kept if get_artifacts().files(path)] == kept
    assert "deleted 0 artifacts" in pruned()


def test_evaluations_are_kept_unless_kind_names_them(database: Database, add_job: Callable[..., uuid.UUID]) -> None:
    job_id = add_job()
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(kind=JobKind.EVALUATION))
    assert "evaluation" not in pruned()
    assert pruned("--kind", "evaluation", "--kind", "merge").startswith(
        "deleted 1 evaluation jobs\ndeleted 0 merge jobs\n"
    )


def test_the_idempotency_key_of_a_pruned_job_is_free_again(
    as_user: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit() -> str:
        response = as_user.post("/v1/generations", json=REQUEST, headers={"Idempotency-Key": "one"})
        assert response.status_code in (200, 202), response.text
        return str(response.json()["id"])

    with monkeypatch.context() as patch:
        patch.setattr("api.submission.uuid7", lambda: id_of(OLD))
        first = submit()
    as_user.post(f"/v1/jobs/{first}/cancel")
    pruned()
    assert submit() == first, "the job ended just now"
    with database.write() as session:
        session.execute(update(Job).where(Job.id == uuid.UUID(first)).values(finished_at=OLD))
    assert "deleted 1 generation jobs" in pruned()
    second = submit()
    assert second != first
    assert as_user.get(f"/v1/jobs/{second}").json()["status"] == "queued"
    assert as_user.get(f"/v1/jobs/{first}").status_code == 404


@pytest.mark.parametrize("age", ["", "30", "0d", "-1d", "1.5d", "30 d", "d", "3m", "999999d"])
def test_an_invalid_age_is_refused(age: str) -> None:
    with pytest.raises(ValueError, match="30d"):
        parse_age(age)
    result = CliRunner().invoke(app, ["prune", "--older-than", age])
    assert result.exit_code == 2


def test_an_age_is_in_hours_days_or_weeks() -> None:
    assert [parse_age(age) for age in ("12h", "30d", "4w")] == [timedelta(hours=12), timedelta(30), timedelta(28)]
