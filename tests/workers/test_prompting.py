"""How a job prompts its model: the request decides, then the model, then the tokenizer."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from db.queries import generations, models, templates
from db.session import Database
from db.tables.generations import Generation
from db.tables.jobs import Job
from db.vocabulary import ModelKind
from models.prompts.templates import PromptOptions, hash_of
from workers.prompting import prompt_options
from workers.runtime import Runtime

TEXT, OTHER = "{{ messages }}", "{{ messages[0] }}"

Options = Callable[..., PromptOptions]


@pytest.fixture
def options(
    runtime: Runtime, database: Database, submit_jobs: Callable[..., list[Job]], change: Callable[..., None]
) -> Options:
    """The options of a generation with this request, of a model that has these columns."""

    def of(request: dict[str, Any], **columns: Any) -> PromptOptions:
        [job] = submit_jobs()
        with database.write() as session:
            for text in (TEXT, OTHER):
                templates.store(session, text)
            base = models.by_name(session, ["starter"])["starter"].id
            unset: dict[str, Any] = dict.fromkeys(("template", "dataset_id", "parameters", "job_id"))
            defaults = {"kind": ModelKind.FULL, "name": str(uuid.uuid4()), "location": "models/x", "parent_id": base}
            model = models.add_result_model(session, **unset | defaults | columns)
        assert model is not None
        change(job.id, model_id=model.id, **request)
        with database.read() as session:
            [(generation, model)] = generations.of_jobs(session, [job.id])
        assert isinstance(generation, Generation)
        return prompt_options(runtime, generation, model)

    return of


def stored(text: str) -> dict[str, str]:
    return {"template": hash_of(text), "template_sha256": hash_of(text)}


def test_the_request_names_the_template_before_the_model_does(options: Options) -> None:
    assert options(stored(OTHER), **stored(TEXT)) == PromptOptions(hash_of(OTHER), OTHER)
    assert options({"template": "raw"}, **stored(TEXT)) == PromptOptions("raw")


@pytest.mark.parametrize("template", [None, "auto"])
def test_a_request_without_a_template_takes_that_of_the_model(options: Options, template: str | None) -> None:
    request = {"template": template, "system": "Write HTML.", "chat_template_kwargs": {"enable_thinking": False}}
    wanted = PromptOptions(hash_of(TEXT), TEXT, "Write HTML.", {"enable_thinking": False})
    assert options(request, **stored(TEXT)) == wanted
    assert options(request, template="chat").template == "chat"
    assert options(request).template == "auto"


def test_an_adapter_is_prompted_by_what_was_saved_with_it(options: Options) -> None:
    """The saved text has the system message of the training, which the template that the training named has not."""
    adapter = {"kind": ModelKind.ADAPTER, "template": "chat", "template_sha256": hash_of(TEXT)}
    assert options({"template": "chat"}, **adapter) == PromptOptions("chat", TEXT)
