"""The artifact store: a folder on this machine, or an object store, behind one address.

Holds datasets, checkpoints, adapters and merged models. An artifact is a folder of files under a path such as
`models/<job id>`; it is written once, and named in the database only when all of it is there.
"""

import shutil
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from settings import get_settings

CHUNK_BYTES = 1024 * 1024


class ArtifactStore:
    """Paths are relative to the store and use `/`. What the store raises (OSError, mostly) is raised as it comes."""

    def __init__(self, url: str, cache: Path) -> None:
        """`url` is a path or what fsspec understands, such as `s3://bucket/prefix`; `cache` is a folder for copies."""
        self._files: AbstractFileSystem
        self._files, self._root = url_to_fs(url)
        self._local = isinstance(self._files, LocalFileSystem)
        self._cache = cache

    def put_folder(self, source: Path, path: str) -> None:
        """Store the files of a local folder, and of those in it, as the artifact `path`, which must be new."""
        for file in sorted(source.rglob("*")):
            if file.is_file():
                target = self._at(f"{path}/{file.relative_to(source).as_posix()}")
                self._files.makedirs(self._files._parent(target), exist_ok=True)
                self._files.put_file(str(file), target)

    def local_folder(self, path: str) -> Path:
        """A local folder with the artifact's files: the store's own, or a copy that is made once.

        Raises FileNotFoundError if there is no such artifact.
        """
        if not self.files(path):
            raise FileNotFoundError(f"the artifact store has no {path}")
        if self._local:
            return Path(self._at(path))
        folder = self._cache / path
        if not folder.is_dir():
            # under another name until it is whole: a second worker, or the next start, must not take half a copy
            partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
            partial.mkdir(parents=True)
            for name in self.files(path):
                target = partial / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(self._at(f"{path}/{name}"), str(target))
            try:
                partial.rename(folder)
            except OSError:  # another was faster
                shutil.rmtree(partial, ignore_errors=True)
        return folder

    def files(self, path: str) -> dict[str, int]:
        """The files of an artifact, in order of their names, with their sizes in bytes; empty if there is none."""
        self._files.invalidate_cache()
        found = self._files.find(self._at(path), detail=True)
        prefix = self._at(path) + "/"
        return {name.removeprefix(prefix): int(info["size"]) for name, info in sorted(found.items())}

    def read(self, path: str) -> Iterator[bytes]:
        """The contents of one file, in pieces."""
        with self.open(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def open(self, path: str) -> IO[bytes]:
        """One file, for reading anywhere in it."""
        file: Any = self._files.open(self._at(path), "rb")
        return file  # type: ignore[no-any-return]

    def delete(self, path: str) -> None:
        """Remove an artifact, and what was copied of it here. Does nothing if there is none."""
        shutil.rmtree(self._cache / path, ignore_errors=True)
        self._files.invalidate_cache()
        if self._files.exists(self._at(path)):
            self._files.rm(self._at(path), recursive=True)

    def list(self, path: str) -> list[str]:
        """The paths of the artifacts and folders right below `path`."""
        self._files.invalidate_cache()
        if not self._files.isdir(self._at(path)):
            return []
        root = self._root.rstrip("/") + "/"
        return sorted(name.removeprefix(root) for name in self._files.ls(self._at(path), detail=False))

    def _at(self, path: str) -> str:
        if not path or ".." in path.split("/") or path.startswith("/"):
            raise ValueError(f"{path!r} is no path in the artifact store")
        return f"{self._root.rstrip('/')}/{path}"


@lru_cache
def get_artifacts() -> ArtifactStore:
    settings = get_settings()
    return ArtifactStore(settings.artifacts, settings.data_dir / "artifact-cache")
