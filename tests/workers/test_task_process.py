"""Processes that crash, and what is said of it."""

import uuid
from pathlib import Path

import pytest

from db.lifecycle import Claim
from tests.disk import fill, small_disk
from workers.lifecycle import Lease
from workers.task_process import ProcessCrashed, run_process


def run(folder: Path) -> None:
    specification = folder / "specification.json"
    specification.write_text("{")
    run_process(specification, Lease(Claim(uuid.uuid4(), 1), 60), lambda _: None, grace_seconds=0)


def test_a_process_that_crashes_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ProcessCrashed, match="JSONDecodeError"):
        run(tmp_path)


def test_a_process_whose_last_words_do_not_fit_on_the_disk_is_told_of_with_that(tmp_path: Path) -> None:
    with small_disk(tmp_path, 2 * 1024 * 1024) as mounted:
        if not mounted:
            pytest.skip("no file system may be mounted here")
        (tmp_path / "specification.json").write_text(" " * 100)
        fill(tmp_path / "ballast")
        with pytest.raises(ProcessCrashed, match="the disk of its work folder is full"):
            run(tmp_path)
