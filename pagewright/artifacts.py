"""The artifact store: a local folder or an object store with datasets, checkpoints, adapters and models.

An artifact is a folder of files under a path such as `models/<job id>`. It is written once, and the database names it
only when it is complete. So an artifact that a killed process left incomplete is never used.
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
    """Reads and writes artifacts. Paths are relative to the store and use `/`.

    Every method raises ValueError for a path outside of the store, FileNotFoundError where a file or artifact is
    missing and needed, and another OSError if the disk is full, access is denied, or the store does not answer.
    """

    def __init__(self, url: str, cache: Path) -> None:
        """`url` is a local path or a URL that fsspec supports, such as `s3://bucket/prefix`.

        `cache` is a local folder for copies of artifacts from an object store.
        """
        self._files: AbstractFileSystem
        # no cached listings: other processes write to the store too
        self._files, self._root = url_to_fs(url, use_listings_cache=False)
        self._local = isinstance(self._files, LocalFileSystem)
        self._cache = cache

    def put_folder(self, source: Path, path: str) -> None:
        """Store the files of a local folder and of its subfolders as the artifact `path`.

        Replaces files that a killed process left there. After a failure the incomplete artifact is deleted, if
        possible, so that it does not fill the disk.
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
        """Return a local folder with the artifact's files: that of a local store, or a copy, which is made once.

        Raises FileNotFoundError if the artifact does not exist.
        """
        target = self._at(path)
        folder = Path(target) if self._local else self._cache / path
        if not self._local and folder.is_dir():
            return folder
        names = self.files(path)
        if not names:
            raise FileNotFoundError(f"the artifact {path} does not exist in the artifact store")
        if not self._local:
            self._copy(path, names, folder)
        return folder

    def files(self, path: str) -> dict[str, int]:
        """Return the artifact's file names, sorted, with their sizes in bytes. Empty if the artifact does not exist."""
        prefix = self._at(path) + "/"
        with os_errors():
            files = self._files.find(self._at(path), detail=True)
        return {
            name.removeprefix(prefix): int(info["size"])
            for name, info in sorted(files.items())
            if name.startswith(prefix)
        }

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the contents of one file in chunks of at most CHUNK_BYTES."""
        with self.open(path) as file:
            while True:
                with os_errors():
                    chunk = file.read(CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def open(self, path: str) -> IO[bytes]:
        """Open one file for reading, with `seek`. Errors while reading it may be the object store client's own."""
        target = self._at(path)
        with os_errors():
            file: Any = self._files.open(target, "rb")
        return file  # type: ignore[no-any-return]  # fsspec is untyped

    def delete(self, path: str) -> None:
        """Delete an artifact and its local copy. Does nothing if the artifact does not exist."""
        target = self._at(path)
        shutil.rmtree(self._cache / path, ignore_errors=True)
        with os_errors():
            if self._files.exists(target):
                self._files.rm(target, recursive=True)

    def list(self, path: str) -> list[str]:
        """Return the paths of the artifacts, files and folders directly in `path`, sorted."""
        target = self._at(path)
        with os_errors():
            names = self._files.ls(target, detail=False) if self._files.isdir(target) else []
        return sorted(name.removeprefix(self._root.rstrip("/") + "/") for name in names)

    def _put_file(self, source: Path, target: str) -> None:
        """Store one file atomically: a local file is renamed when it is complete, object stores do the same."""
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
        """Copy an artifact to the local `folder`, which gets its name when it is complete: no reader sees a part."""
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
                if not folder.is_dir():  # otherwise another process has copied it meanwhile
                    raise

    def _at(self, path: str) -> str:
        if not path or ".." in path.split("/") or path.startswith("/"):
            raise ValueError(f"{path!r} is not a path in the artifact store")
        return f"{self._root.rstrip('/')}/{path}"


@contextmanager
def os_errors() -> Iterator[None]:
    """Turn any exception of an object store's client into an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"the artifact store does not answer: {error}") from error


@lru_cache
def get_artifacts() -> ArtifactStore:
    """Return the artifact store of the settings."""
    settings = get_settings()
    return ArtifactStore(settings.artifacts, settings.data_dir / "artifact-cache")
