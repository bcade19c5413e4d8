"""Finding the models and datasets that a request names."""

from typing import Any

from sqlalchemy.orm import Session

from api.errors import invalid
from api.schemas.load_options import LoadOptionsIn
from db.queries import datasets, models
from db.tables.datasets import Dataset
from db.tables.models import Model
from db.vocabulary import ModelKind, Split


def dataset_with_rows(session: Session, name: str, split: Split) -> Dataset:
    """Return the dataset, locked against deletion until the transaction ends.

    Raises a 422 Problem about `dataset` if there is no such dataset, and about `split` if the split has no rows.
    """
    dataset = datasets.get_by_name(session, name)
    locked = dataset and datasets.lock(session, dataset.id)
    if locked is None:
        raise invalid("dataset", "there is no dataset with this name")
    if not locked.rows_of(split):
        raise invalid("split", f"the dataset has no rows in its {split.value} split")
    return locked


def full_model(session: Session, name: str, purpose: str) -> Model:
    """Return the model. `purpose` completes the error message for an adapter: "merge it ..., then {purpose} the merged
    model".

    Raises a 422 Problem about `model` if there is no such model, or if it is an adapter.
    """
    model = models.get_by_name(session, name)
    if model is None:
        raise invalid("model", "there is no model with this name")
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
