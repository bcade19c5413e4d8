"""What the queries about a job and its request return, on both databases."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from db.queries import fine_tunes, jobs, quantizations
from db.queries.job_names import Named
from db.session import Database, now
from db.tables.api_keys import ApiKey
from db.tables.datasets import Dataset
from db.tables.fine_tunes import FineTune
from db.tables.jobs import Job
from db.tables.models import Model
from db.tables.quantizations import Quantization
from db.vocabulary import JobKind, JobStatus, Role, Split

MakeKey = Callable[[Role], tuple[ApiKey, str]]
MakeModel = Callable[..., Model]

QUERIES = {JobKind.FINE_TUNE: fine_tunes, JobKind.QUANTIZATION: quantizations}
OPTIONS: dict[JobKind, tuple[type[Any], dict[str, Any]]] = {
    JobKind.FINE_TUNE: (FineTune, {"lora": {}, "training": {}, "devices": 1}),
    JobKind.QUANTIZATION: (Quantization, {"options": {}, "report_rows": 0}),
}

each_kind = pytest.mark.parametrize("kind", QUERIES)


@pytest.fixture
def owner(make_key: MakeKey) -> uuid.UUID:
    return make_key(Role.ADMIN)[0].id


@pytest.fixture
def submit(
    database: Database, owner: uuid.UUID, make_model: MakeModel, make_dataset: Callable[..., Dataset]
) -> Callable[[JobKind], uuid.UUID]:
    """Submits a job of the kind: with the model `base`, the dataset `pages`, for the API key `owner`."""
    base, dataset = make_model("base"), make_dataset([("Create a page.", "", "<p>")], "pages")

    def submit(kind: JobKind) -> uuid.UUID:
        table, options = OPTIONS[kind]
        with database.write() as session:
            moment = now(session)
            job = Job(
                id=uuid7(), kind=kind, api_key_id=owner, max_attempts=3, created_at=moment, published_at=moment
            )  # fmt: skip
            request = table(
                job_id=job.id, model_id=base.id, dataset_id=dataset.id, split=Split.TRAIN, name=f"{job.id}", **options
            )
            jobs.add(session, job, request)
        return job.id

    return submit


@each_kind
def test_a_job_is_returned_with_its_request_model_and_dataset(
    database: Database, submit: Callable[[JobKind], uuid.UUID], owner: uuid.UUID, kind: JobKind
) -> None:
    job_id = submit(kind)
    with database.read() as session:
        row = QUERIES[kind].get(session, job_id, owner=owner)
    assert row is not None
    assert (row.job.id, row.request.name, row.model.name, row.dataset.name) == (job_id, f"{job_id}", "base", "pages")


@each_kind
def test_a_job_of_another_api_key_or_of_another_kind_is_not_returned(
    database: Database,
    submit: Callable[[JobKind], uuid.UUID],
    owner: uuid.UUID,
    make_key: MakeKey,
    kind: JobKind,
) -> None:
    [other_kind] = QUERIES.keys() - {kind}
    job_id, other_id, stranger = submit(kind), submit(other_kind), make_key(Role.USER)[0].id
    with database.read() as session:
        assert QUERIES[kind].get(session, job_id, owner=stranger) is None
        assert QUERIES[kind].get(session, other_id, owner=None) is None
        assert QUERIES[kind].get(session, job_id, owner=None) is not None
        pages = [
            QUERIES[kind].page(session, owner=who, status=None, named=Named(), limit=10, after=None)
            for who in (stranger, owner, None)
        ]  # fmt: skip
    assert [[row.job.id for row in page.items] for page in pages] == [[], [job_id], [job_id]]


@each_kind
def test_jobs_are_listed_newest_first_by_page_and_status(
    database: Database, submit: Callable[[JobKind], uuid.UUID], kind: JobKind
) -> None:
    first, second, third = (submit(kind) for _ in range(3))
    with database.read() as session:
        newest = QUERIES[kind].page(session, owner=None, status=JobStatus.QUEUED, named=Named(), limit=2, after=None)
        oldest = QUERIES[kind].page(
            session, owner=None, status=JobStatus.QUEUED, named=Named(), limit=2, after=newest.next
        )
        running = QUERIES[kind].page(session, owner=None, status=JobStatus.RUNNING, named=Named(), limit=2, after=None)
    assert [row.job.id for row in newest.items] == [third, second]
    assert ([row.job.id for row in oldest.items], oldest.next) == ([first], None)
    assert running.items == []


@each_kind
def test_every_query_returns_a_job_with_the_id_of_its_result_model(
    database: Database, submit: Callable[[JobKind], uuid.UUID], make_model: MakeModel, kind: JobKind
) -> None:
    with_result, without = submit(kind), submit(kind)
    result_model = make_model("result", job_id=with_result)
    expected = {with_result: result_model.id, without: None}
    with database.read() as session:
        by_id = [jobs.get(session, job_id, owner=None) for job_id in expected]
        many = jobs.get_many(session, expected)
        page = jobs.page(
            session, owner=None, status=None, kind=None, batch_id=None, named=Named(), limit=10, after=None
        )
        kinds = QUERIES[kind].page(session, owner=None, status=None, named=Named(), limit=10, after=None)
        rows = [row.job for row in kinds.items]
    for result in (by_id, many, page.items, rows):
        assert {job.id: job.result_model_id for job in result if job} == expected
