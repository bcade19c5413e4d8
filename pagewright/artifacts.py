"""The artifact store: a folder on this machine, or an object store, behind one address.

Holds datasets, checkpoints, adapters and merged models. An artifact is a folder of files under a path such as
`models/<job id>`; it is written once, and named in the database only when all of it is there. So one that a killed
process left half-written is never used, whatever it looks like.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from pagewright.settings import get_settings
from pagewright.work_folders import remove_abandoned, work_folder

CHUNK_BYTES = 1024 * 1024


class ArtifactStore:
    """Paths are relative to the store and use `/`; one that would leave it is a ValueError.

    What goes wrong in the store is an OSError: FileNotFoundError for what is not there, others for a full disk, a
    refused access or a store that does not answer.
    """

    def __init__(self, url: str, cache: Path) -> None:
        """`url` is a path or what fsspec understands, such as `s3://bucket/prefix`; `cache` is a folder for copies."""
        self._files: AbstractFileSystem
        # other processes write too: a listing is never remembered
        self._files, self._root = url_to_fs(url, use_listings_cache=False)
        self._local = isinstance(self._files, LocalFileSystem)
        self._cache = cache

    def put_folder(self, source: Path, path: str) -> None:
        """Store the files of a local folder, and of those in it, as the artifact `path`.

        Takes the place of what a killed process left there. When it fails nothing of it stays, where the store lets it
        be deleted: on a full disk the half of it would be in the way.
        """
        names = {file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()}
        try:
            for name in sorted(names):
                self._put_file(source / name, self._at(f"{path}/{name}"))
            for name in self.files(path).keys() - names:
                with os_errors():
                    self._files.rm_file(self._at(f"{path}/{name}"))
        except OSError:
            with suppress(OSError):
                self.delete(path)
            raise

    def local_folder(self, path: str) -> Path:
        """A local folder with the artifact's files: the store's own, or a copy that is made once.

        Raises FileNotFoundError if there is no such artifact.
        """
        target = self._at(path)
        folder = Path(target) if self._local else self._cache / path
        if not self._local and folder.is_dir():
            return folder
        names = self.files(path)
        if not names:
            raise FileNotFoundError(f"the artifact store has no {path}")
        if not self._local:
            self._copy(path, names, folder)
        return folder

    def files(self, path: str) -> dict[str, int]:
        """The files of an artifact, in order of their names, with their sizes in bytes; empty if there is none."""
        prefix = self._at(path) + "/"
        with os_errors():
            found = self._files.find(self._at(path), detail=True)
        return {
            name.removeprefix(prefix): int(info["size"])
            for name, info in sorted(found.items())
            if name.startswith(prefix)
        }

    def read(self, path: str) -> Iterator[bytes]:
        """The contents of one file, in pieces."""
        with self.open(path) as file:
            while True:
                with os_errors():
                    chunk = file.read(CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def open(self, path: str) -> IO[bytes]:
        """One file, for reading anywhere in it. Once it is open, an object store's own errors come as they are."""
        target = self._at(path)
        with os_errors():
            file: Any = self._files.open(target, "rb")
        return file  # type: ignore[no-any-return]  # fsspec is untyped

    def delete(self, path: str) -> None:
        """Remove an artifact, and what was copied of it here. Does nothing if there is none."""
        target = self._at(path)
        shutil.rmtree(self._cache / path, ignore_errors=True)
        with os_errors():
            if self._files.exists(target):
                self._files.rm(target, recursive=True)

    def list(self, path: str) -> list[str]:
        """The paths of the artifacts and folders right below `path`."""
        target = self._at(path)
        with os_errors():
            found = self._files.ls(target, detail=False) if self._files.isdir(target) else []
        return sorted(name.removeprefix(self._root.rstrip("/") + "/") for name in found)

    def _put_file(self, source: Path, target: str) -> None:
        """A file is there whole or not at all, as an object store has it of itself."""
        if not self._local:
            with os_errors():
                self._files.put_file(str(source), target)
            return
        partial = Path(f"{target}.{uuid.uuid4().hex}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, partial)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def _copy(self, path: str, names: dict[str, int], folder: Path) -> None:
        """Copy an artifact here, elsewhere until it is whole: nobody must take half a copy for all of it."""
        copying = self._cache / "copying"
        remove_abandoned(copying)
        with work_folder(copying) as work:
            try:
                for name in names:
                    target = work / "copy" / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with os_errors():
                        self._files.get_file(self._at(f"{path}/{name}"), str(target))
                folder.parent.mkdir(parents=True, exist_ok=True)
                (work / "copy").rename(folder)
            except OSError:
                if not folder.is_dir():  # if it is, another was faster
                    raise

    def _at(self, path: str) -> str:
        if not path or ".." in path.split("/") or path.startswith("/"):
            raise ValueError(f"{path!r} is no path in the artifact store")
        return f"{self._root.rstrip('/')}/{path}"


@contextmanager
def os_errors() -> Iterator[None]:
    """What an object store's client raises when the store does not answer is none of Python's own errors."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"the artifact store does not answer: {error}") from error


@lru_cache
def get_artifacts() -> ArtifactStore:
    settings = get_settings()
    return ArtifactStore(settings.artifacts, settings.data_dir / "artifact-cache")
