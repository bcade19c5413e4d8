"""The shared queries and pruning know every table: none is forgotten when a kind of job is added."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from db import job_transitions, pruning
from db.queries import datasets, job_names, models
from db.session import Database
from db.tables.api_keys import ApiKey
from db.tables.base import Table
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation
from db.tables.mixins import JobRequest, MakesModel, UsesDataset
from db.tables.models import Model
from db.vocabulary import JobKind, Role
from tests.db.rows import insert_job, insert_row, tables_with_a_foreign_key

ALL_TABLES = [mapper.class_ for mapper in Table.registry.mappers]


def tables_with(*columns: str) -> set[type[Any]]:
    return {table for table in ALL_TABLES if set(columns).issubset(table.__table__.columns.keys())}


def test_every_kind_of_job_has_one_table_of_requests() -> None:
    requests = {table for table in ALL_TABLES if table.__table__.primary_key.columns.keys() == ["job_id"]}
    assert requests == {table for table in ALL_TABLES if issubclass(table, JobRequest)}
    assert len(requests) == len(JobKind)
    assert set(job_names.tables().values()) == requests
    assert set(job_names.tables()) == set(JobKind)


def test_every_table_of_jobs_with_a_dataset_uses_the_mixin_for_datasets() -> None:
    assert tables_with("job_id", "dataset_id") - {Model} == set(UsesDataset.__subclasses__())


def test_every_table_of_jobs_with_a_name_uses_the_mixin_for_result_models() -> None:
    assert tables_with("job_id", "name") - {Model, Evaluation} == set(MakesModel.__subclasses__())


def test_every_table_that_refers_to_jobs_is_pruned_except_models() -> None:
    assert {table.name for table in tables_with_a_foreign_key("jobs")} == {
        "models",
        *(table.name for table in pruning.tables_of_jobs()),
    }


@pytest.fixture
def submit(
    database: Database,
    make_key: Callable[[Role], tuple[ApiKey, str]],
    make_model: Callable[..., Model],
    dataset: Dataset,
) -> Callable[..., uuid.UUID]:
    """Inserts a queued job with a row in the given table of requests, and returns the job's id."""
    key, model = make_key(Role.ADMIN)[0], make_model()

    def submit(table: type[Any], name: str) -> uuid.UUID:
        with database.write() as session:
            job_id = insert_job(session, kind=JobKind.FINE_TUNE, status="queued", api_key_id=key.id, max_attempts=3)
            insert_row(
                session, table.__table__, job_id=job_id, model_id=model.id, dataset_id=dataset.id, name=name
            )  # fmt: skip
        return job_id

    return submit


@pytest.fixture
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset([("Create a page.", "", "<p>")], name="pages")


def run_to_the_end(database: Database, job_id: uuid.UUID) -> None:
    with database.write() as session:
        [claim] = job_transitions.claim(session, [job_id], worker="a", lease_seconds=30)
    with database.write() as session:
        assert job_transitions.succeed(session, [claim]) == {job_id}


@pytest.mark.parametrize("table", MakesModel.__subclasses__())
def test_a_name_is_taken_while_a_job_that_will_give_it_to_its_result_model_is_live(
    database: Database, submit: Callable[..., uuid.UUID], table: type[MakesModel]
) -> None:
    def name_is_free() -> bool:
        with database.write() as session:
            return models.name_is_free(session, "result")

    assert name_is_free()
    job_id = submit(table, "result")
    assert not name_is_free()
    run_to_the_end(database, job_id)
    assert name_is_free()


def test_the_name_of_a_registered_model_is_taken(database: Database, make_model: Callable[..., Model]) -> None:
    make_model("registered")
    with database.write() as session:
        assert not models.name_is_free(session, "registered")
        assert models.name_is_free(session, "another")


@pytest.mark.parametrize("table", UsesDataset.__subclasses__())
def test_a_dataset_is_in_use_while_a_job_that_reads_it_is_live(
    database: Database,
    submit: Callable[..., uuid.UUID],
    make_dataset: Callable[..., Dataset],
    dataset: Dataset,
    table: type[UsesDataset],
) -> None:
    other = make_dataset([("Create a page.", "", "<p>")], name="other")

    def in_use() -> list[bool]:
        with database.read() as session:
            return [datasets.in_use(session, dataset.id), datasets.in_use(session, other.id)]

    assert in_use() == [False, False]
    job_id = submit(table, "x")
    assert in_use() == [True, False]
    run_to_the_end(database, job_id)
    assert in_use() == [False, False]
