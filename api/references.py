"""What a job names and takes hold of as it is submitted: found, or refused by the name of its field."""

from sqlalchemy.orm import Session

from api.errors import invalid
from db.queries import datasets, models
from db.tables.datasets import Dataset
from db.tables.models import Model
from db.vocabulary import ModelKind, Split


def dataset_with_rows(session: Session, name: str, split: Split) -> Dataset:
    """The dataset, held until the transaction ends so that it is not deleted meanwhile.

    Raises a 422 Problem about `dataset` if there is none, and about `split` if that has no rows.
    """
    found = datasets.get_by_name(session, name)
    held = found and datasets.lock(session, found.id)
    if held is None:
        raise invalid("dataset", "there is no dataset of that name")
    if not held.rows_of(split):
        raise invalid("split", f"the dataset has no rows in its {split.value} split")
    return held


def full_model(session: Session, name: str, then: str) -> Model:
    """The model. Raises a 422 Problem about `model` if there is none, or if it is an adapter, which is first to be
    merged, and `then` what comes out."""
    found = models.get_by_name(session, name)
    if found is None:
        raise invalid("model", "no model of that name is registered")
    if found.kind == ModelKind.ADAPTER:
        raise invalid("model", f"this is an adapter; merge it with its base first, and {then} what comes out")
    return found
