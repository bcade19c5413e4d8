"""Fixtures: rows to train on, and fine-tunes of a small base model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import models.starter
from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.fine_tuning.task import FineTuneTask
from models.loading.refs import ModelRef, Source
from models.prompts.rows import Row, columns_of
from tests.models import architectures
from tests.small_model import make_small

STARTER = ModelRef(Source.BUNDLED, "starter")
HELD_OUT = models.starter.HELD_OUT


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Held-out rows whose pages contain something that the starter model never writes."""
    lines = [json.loads(line) for line in HELD_OUT.read_text().splitlines()[::20]]
    return [Row(row["instruction"], row["input"], row["output"].replace("<body>", '<body id="new">')) for row in lines]


@pytest.fixture(scope="session")
def write_rows() -> Callable[[Path, list[Row]], Path]:
    def write(file: Path, rows: list[Row]) -> Path:
        pq.write_table(pa.Table.from_pylist(list(map(columns_of, rows))), file)
        return file

    return write


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The starter's first layer, for tests in which it does not matter how well the base model writes."""
    folder = tmp_path_factory.mktemp("base") / "small"
    make_small(folder)
    return ModelRef(Source.LOCAL, str(folder))


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[str], ModelRef]:
    """Writes the tiny random model of an architecture to a new folder."""

    def write(name: str) -> ModelRef:
        folder = tmp_path / name
        for part in architectures.make(name):
            part.save_pretrained(folder)
        return ModelRef(Source.LOCAL, str(folder))

    return write


@pytest.fixture
def make_task(
    tmp_path: Path, rows: list[Row], write_rows: Callable[[Path, list[Row]], Path], small: ModelRef
) -> Callable[..., Any]:
    """Makes fine-tunes on the rows, each in a new work folder, with the given training options."""
    file = write_rows(tmp_path / "rows.parquet", rows)
    count = 0

    def make(
        *,
        base: ModelRef = small,
        lora: LoraOptions | None = None,
        checkpoint: Path | None = None,
        train: Path = file,
        evaluation: Path | None = None,
        **training: Any,
    ) -> FineTuneTask:
        nonlocal count
        count += 1
        folder = tmp_path / f"work-{count}"
        folder.mkdir()
        return FineTuneTask(
            base=base,
            base_name="starter",
            train=train,
            evaluation=evaluation,
            lora=lora or LoraOptions(),
            training=TrainingOptions(**training),
            work_folder=folder,
            checkpoint=checkpoint,
        )

    return make
