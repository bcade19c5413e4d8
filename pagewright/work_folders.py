"""Temporary folders for long tasks and uploads. Folders of killed processes are found by their lock, and removed."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

LOCK = "lock"


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """Create a folder in `parent`, locked while the block runs, and remove it at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _exclusively(parent):
            folder = Path(tempfile.mkdtemp(dir=parent))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            lock = stack.enter_context((folder / LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def remove_abandoned(parent: Path) -> None:
    """Remove the folders in `parent` whose process has ended."""
    if not parent.is_dir():
        return
    with _exclusively(parent):
        for folder in parent.iterdir():
            if not _in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _exclusively(parent: Path) -> Iterator[None]:
    """Lock `parent` itself, so that no other process sees a folder between its creation and its own lock."""
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
