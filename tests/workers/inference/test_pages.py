"""Evaluations of a chat model, whose pages stand in a fence after a sentence."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from db.queries import templates
from db.queries.evaluations import EvaluationRow
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.evaluations import Prediction
from db.tables.models import Model
from db.vocabulary import JobStatus, ModelKind
from models.prompts.rows import Message, Row
from tests.databases import on_sqlite
from tests.reciting import CHAT_TEMPLATE, make_reciting
from workers.inference.evaluation import evaluate
from workers.runtime import Runtime

pytestmark = on_sqlite

PAGE = "<!DOCTYPE html>\n<title>Tea</title>\n<p>Tea</p>\n"
ANSWER = ["Here it is:\n\n", "```html\n", *PAGE.splitlines(keepends=True), "```\n", "Enjoy!"]

Submit = Callable[..., uuid.UUID]


@pytest.fixture
def chat(make_model: Callable[..., Model], tmp_path: Path) -> Model:
    make_reciting(tmp_path / "chat", ANSWER)
    return make_model("chat", files=tmp_path / "chat", kind=ModelKind.FULL, template=None)


@pytest.fixture
def evaluated(
    runtime: Runtime,
    chat: Model,
    submit_evaluation: Submit,
    make_dataset: Callable[..., Dataset],
    read_evaluation: Callable[[uuid.UUID], EvaluationRow],
    database: Database,
) -> Callable[..., tuple[EvaluationRow, Prediction]]:
    """The evaluation of the model on one row whose output is the page, and the row's prediction."""
    context = (Message("user", "Hello"), Message("assistant", "Hi"))
    dataset = make_dataset([], test=[Row("Create a page.", "", PAGE, context)])

    def evaluate_once(**request: object) -> tuple[EvaluationRow, Prediction]:
        job_id = submit_evaluation(model=chat.name, dataset_id=dataset.id, rows=1, **request)
        evaluate(runtime, job_id)
        with database.read() as session:
            prediction = session.scalars(select(Prediction).where(Prediction.job_id == job_id)).one()
        return read_evaluation(job_id), prediction

    return evaluate_once


def test_the_page_in_a_fence_is_scored_though_the_whole_answer_is_stored(
    evaluated: Callable[..., tuple[EvaluationRow, Prediction]], database: Database
) -> None:
    row, prediction = evaluated()
    assert row.job.status == JobStatus.SUCCEEDED
    assert (prediction.completion, prediction.finish_reason) == ("".join(ANSWER), "stop")
    assert (prediction.exact_match, prediction.validity) == (1, 1)
    assert (row.evaluation.template, row.evaluation.extract) == ("chat", "html")
    with database.read() as session:
        assert templates.text_of(session, str(row.evaluation.template_sha256)) == CHAT_TEMPLATE


def test_without_extraction_the_whole_answer_is_scored(
    evaluated: Callable[..., tuple[EvaluationRow, Prediction]],
) -> None:
    row, prediction = evaluated(extract="none", max_new_tokens=50)
    assert (prediction.completion, row.evaluation.extract) == ("".join(ANSWER), "none")
    assert (prediction.exact_match, prediction.validity) == (0, 0)
