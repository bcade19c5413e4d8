"""Unpacks what the API offers for download."""

import io
import tarfile
from pathlib import Path


def unpack(content: bytes, folder: Path) -> Path:
    """Unpack a tar archive into `folder`, and return the one folder in it.

    `extractall` refuses nothing in Python 3.11.2, which Debian 12 has, and wants a filter in later versions.
    """
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive.getmembers():
            reader = archive.extractfile(member)
            if reader is not None:
                file = folder / member.name
                assert file.resolve().is_relative_to(folder.resolve())
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(reader.read())
    [unpacked] = folder.iterdir()
    return unpacked
