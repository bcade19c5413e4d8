"""A tar archive of an artifact, made while it is sent: in memory is one piece of one file at a time."""

import tarfile
from collections.abc import Iterator

from pagewright.artifacts import ArtifactStore

END = bytes(2 * tarfile.BLOCKSIZE)


def archive_size(folder: str, files: dict[str, int]) -> int:
    """The size in bytes of the archive of `files`, which are sizes by name."""
    return sum(len(_header(folder, name, size)) + size + _padding(size) for name, size in files.items()) + len(END)


def archive(artifacts: ArtifactStore, path: str, folder: str, files: dict[str, int]) -> Iterator[bytes]:
    """The archive of the artifact `path`, in pieces; its files lie in `folder`. The same files give the same bytes.

    Raises OSError when a file is gone or is not of the size that `files` says: what was sent is then no archive.
    """
    for name, size in files.items():
        yield _header(folder, name, size)
        sent = 0
        for piece in artifacts.read(f"{path}/{name}"):
            sent += len(piece)
            yield piece
        if sent != size:
            raise OSError(f"{path}/{name} has {sent} bytes, where there were {size}")
        yield bytes(_padding(size))
    yield END


def _header(folder: str, name: str, size: int) -> bytes:
    file = tarfile.TarInfo(f"{folder}/{name}")
    file.size = size
    return file.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
