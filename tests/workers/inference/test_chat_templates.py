"""A model with a chat template is prompted by it, in generations and in evaluations."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from transformers import AutoTokenizer

from db.queries import templates
from db.queries.evaluations import EvaluationRow
from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.evaluations import Prediction
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import ErrorType, JobStatus, ModelKind
from models.prompts.rows import Message, Row
from tests.databases import on_sqlite
from tests.small_model import make_small
from workers.inference.evaluation import evaluate
from workers.inference.generation import generate
from workers.runtime import Runtime

TEMPLATE = """{% for message in messages %}
{% if message['role'] == 'system' %}{{ raise_exception('No system messages') }}{% endif %}
{{- '<|bos|>' + message['role'] + '\\n' + message['content'] + '<|eos|>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|bos|>assistant\\n' }}{% endif %}"""
TURNS = (Message("user", "Create a page."), Message("assistant", "<p>One</p>"))

SubmitJobs = Callable[..., list[Job]]
Change = Callable[..., None]


@pytest.fixture
def chat_model(make_model: Callable[..., Model], tmp_path: Path) -> Model:
    make_small(tmp_path / "small")
    (tmp_path / "small" / "chat_template.jinja").write_text(TEMPLATE)
    return make_model("chat", tmp_path / "small", ModelKind.FULL, template=None)


def prompt_tokens(tmp_path: Path, messages: list[dict[str, str]]) -> int:
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "small")
    return len(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


@on_sqlite
def test_a_generation_stores_the_template_that_prompted_it(
    runtime: Runtime,
    submit_jobs: SubmitJobs,
    change: Change,
    read: Callable[[uuid.UUID], GenerationRow],
    chat_model: Model,
    database: Database,
    tmp_path: Path,
) -> None:
    chat, own, refused = submit_jobs(3)
    for job in (chat, own, refused):
        change(job.id, model_id=chat_model.id, prompt="Create a page.", max_new_tokens=3)
    change(own.id, template="pagewright-1", extract="html")
    change(refused.id, system="Write HTML.")
    generate(runtime, chat.id, own.id, refused.id)

    done = read(chat.id).generation
    assert (done.template, done.extract) == ("chat", "html")
    assert done.prompt_tokens == prompt_tokens(tmp_path, [{"role": "user", "content": "Create a page."}])
    with database.read() as session:
        assert templates.text_of(session, str(done.template_sha256)) == TEMPLATE
    assert (read(own.id).generation.template, read(own.id).generation.extract) == ("pagewright-1", "html")

    failed = read(refused.id).job
    assert (failed.status, failed.attempt, failed.error_type) == (JobStatus.FAILED, 1, ErrorType.INVALID_REQUEST)
    assert "No system messages" in str(failed.error_message)


@on_sqlite
def test_an_evaluation_prompts_with_the_turns_before_the_last_answer(
    runtime: Runtime,
    submit_evaluation: Callable[..., uuid.UUID],
    read_evaluation: Callable[[uuid.UUID], EvaluationRow],
    chat_model: Model,
    make_dataset: Callable[..., Any],
    database: Database,
    tmp_path: Path,
) -> None:
    turns = (TURNS, (Message("system", "Write HTML."), *TURNS))
    rows = [Row("Now two.", "", "<p>Two</p>", context) for context in turns]
    dataset = make_dataset(rows, name="chats", test=rows)
    job_id = submit_evaluation(count=2, model="chat", dataset_id=dataset.id, max_new_tokens=3, metrics=["exact_match"])
    evaluate(runtime, job_id)
    row = read_evaluation(job_id)
    assert row.job.status == JobStatus.SUCCEEDED, row.job.error_message
    evaluation = row.evaluation
    assert (evaluation.template, evaluation.extract) == ("chat", "html")
    with database.read() as session:
        assert templates.text_of(session, str(evaluation.template_sha256)) == TEMPLATE
        first, second = session.scalars(select(Prediction).order_by(Prediction.row))
    messages = [{"role": turn.role, "content": turn.content} for turn in (*TURNS, Message("user", "Now two."))]
    assert first.prompt_tokens == prompt_tokens(tmp_path, messages)
    assert (second.completion, second.finish_reason) == ("", "error")
    assert "No system messages" in str(second.error)
