"""Merge jobs."""

from db.tables.base import Table
from db.tables.mixins import MakesModel


class Merge(MakesModel, Table):
    """The request of a merge job. `model_id` is the adapter that is merged into its base model."""

    __tablename__ = "merges"
