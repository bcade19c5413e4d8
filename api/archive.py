"""Tar archives of artifacts, created while they are sent. Only a piece of a file is in memory at a time."""

import tarfile
from collections.abc import Iterator

from pagewright.artifacts import ArtifactStore

END = bytes(2 * tarfile.BLOCKSIZE)


def archive_size(folder: str, files: dict[str, int]) -> int:
    """Return the size of the archive in bytes. `files` maps names to sizes."""
    return sum(len(_header(folder, name, size)) + size + _padding(size) for name, size in files.items()) + len(END)


def archive(artifacts: ArtifactStore, path: str, folder: str, files: dict[str, int]) -> Iterator[bytes]:
    """Yield the archive of the artifact `path` in pieces. Inside the archive its files are in `folder`.

    The same files give the same bytes. Raises OSError if a file is missing or its size is not that in `files`; the
    archive is then incomplete.
    """
    for name, size in files.items():
        yield _header(folder, name, size)
        sent = 0
        for piece in artifacts.read(f"{path}/{name}"):
            sent += len(piece)
            yield piece
        if sent != size:
            raise OSError(f"{path}/{name} has {sent} bytes instead of {size}")
        yield bytes(_padding(size))
    yield END


def _header(folder: str, name: str, size: int) -> bytes:
    file = tarfile.TarInfo(f"{folder}/{name}")
    file.size = size
    return file.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
