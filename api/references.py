"""Finding what a request names, in its path or in its fields: by name or by id."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.convertors import Convertor, register_url_convertor

from api import messages
from api.errors import Problem, ProblemType, invalid, not_found
from api.schemas.common import storable
from api.schemas.load_options import LoadOptionsIn
from db.queries import datasets, job_names, models
from db.tables.datasets import Dataset
from db.tables.models import Model
from db.vocabulary import JobKind, ModelKind, Split
from pagewright.logging import add_log_fields

MAX_NAMES = 1000
"""How many names are compared with one that is not found, to say which was meant."""

Reference = Annotated[str, AfterValidator(storable), Path(max_length=200, description="The name or the id.")]
"""What a path names. The path has it as `{...:reference}`."""

PARTS = r"cancel|download|events|merge|predictions(?:\.[^/]*)?|rows|steps"
"""The last segments of the paths of what belongs to something that has a name. A name that ends in one of them is not
found in a path; its id is."""

_ID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


class _Reference(Convertor[str]):
    """An id, or a name, which may have slashes in it; but nothing that a slip in another path would look like."""

    regex = f"(?:{_ID}|(?!{_ID}/)[^/]+(?:/(?!(?:{PARTS})$)[^/]+)*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("reference", _Reference())


def find_job_id(
    session: Session, reference: str, *, kind: JobKind | None, owner: uuid.UUID | None, what: str | None = None
) -> uuid.UUID:
    """Return the id of the job with this id, else of the latest one of this kind with this name.

    Raises a 404 Problem, whose message calls the job `what`, if no job of `owner` has the name. A job that is found by
    its id may have another owner or kind. The log lines of the request name the job.
    """
    found = job_names.find(session, reference, kind=kind, owner=owner)
    if found is None:
        raise not_found(what or (kind.word if kind else "job"))
    add_log_fields(job_id=str(found))
    return found


def unknown_model(session: Session, reference: str, field: str = "model", more: str = "") -> Problem:
    """Return a 422 Problem about a field that names no model."""
    return invalid(field, _unknown("model", messages.nearest(reference, models.all_names(session, MAX_NAMES))) + more)


def unknown_dataset(session: Session, reference: str) -> Problem:
    """Return a 422 Problem about the field `dataset`, which names no dataset."""
    return invalid("dataset", _unknown("dataset", messages.nearest(reference, datasets.all_names(session, MAX_NAMES))))


def missing(what: str, reference: str, names: Sequence[str]) -> Problem:
    """Return a 404 Problem about a path that names nothing; `names` are those there are, which the caller may see."""
    return Problem(404, ProblemType.NOT_FOUND, _unknown(what, messages.nearest(reference, names)))


def _unknown(what: str, near: str) -> str:
    return f"there is no {what} with this name or id" + (f"; did you mean {near}?" if near else "")


def find_dataset(session: Session, reference: str) -> Dataset:
    """Return the dataset that a field `dataset` names. Raises a 422 Problem if there is no such dataset."""
    dataset = datasets.find(session, reference)
    if dataset is None:
        raise unknown_dataset(session, reference)
    return dataset


def dataset_with_rows(session: Session, reference: str, split: Split) -> Dataset:
    """Return the dataset, locked against deletion until the transaction ends.

    Raises a 422 Problem about `dataset` if there is no such dataset, and about `split` if the split has no rows.
    """
    locked = datasets.lock(session, find_dataset(session, reference).id)
    if locked is None:  # deleted in between
        raise unknown_dataset(session, reference)
    if not locked.rows_of(split):
        raise invalid("split", f"the dataset has no rows in its {split.value} split")
    return locked


def full_model(session: Session, reference: str, purpose: str) -> Model:
    """Return the model. `purpose` completes the error message for an adapter: "merge it ..., then {purpose} the merged
    model".

    Raises a 422 Problem about `model` if there is no such model, or if it is an adapter.
    """
    model = models.find(session, reference)
    if model is None:
        raise unknown_model(session, reference)
    if model.kind == ModelKind.ADAPTER:
        raise invalid(
            "model", f"this model is an adapter; merge it with its base model, then {purpose} the merged model"
        )
    return model


def stored_quantization(session: Session, model: Model) -> dict[str, Any] | None:
    """Return how the stored weights of a model, or of an adapter's base model, are quantized.

    None if they are not, and for hub models, whose files only workers know.
    """
    base = models.get(session, model.parent_id) if model.kind == ModelKind.ADAPTER and model.parent_id else model
    quantization: dict[str, Any] | None = ((base and base.parameters) or {}).get("quantization")
    return quantization


def refuse_load_options(session: Session, body: LoadOptionsIn, model: Model, field: str = "load") -> None:
    """Raise a 422 Problem about `field` if the request would quantize weights that are quantized."""
    quantization = stored_quantization(session, model) if body.load else None
    if quantization:
        raise invalid(
            field, f"the model's weights are already quantized, by {quantization['method']}: leave out `load`"
        )
