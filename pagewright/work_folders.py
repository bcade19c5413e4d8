"""Folders that long tasks and uploads work in. Those of processes that were killed are found and removed."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

LOCK = "lock"


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, removed at the end. It is locked for as long as this process lives."""
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _alone(parent):
            folder = Path(tempfile.mkdtemp(dir=parent))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            lock = stack.enter_context((folder / LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def remove_abandoned(parent: Path) -> None:
    """Remove the folders below `parent` whose process is gone."""
    if not parent.is_dir():
        return
    with _alone(parent):
        for folder in parent.iterdir():
            if not _in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Nobody else makes a folder below `parent`, or removes one, meanwhile: none is there and not locked yet."""
    with parent.with_name(f"{parent.name}.{LOCK}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _in_use(folder: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError), (folder / LOCK).open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
