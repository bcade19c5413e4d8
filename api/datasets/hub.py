"""Datasets from the Hugging Face Hub: the data files of one commit. Scripts in the repository are never fetched."""

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from api.datasets.files import READERS, Rows, open_rows
from api.datasets.limits import Unreadable
from api.errors import Problem, ProblemType, invalid

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10

_NAMES_TRAIN = re.compile(r"(?<![a-z])train(?![a-z])", re.IGNORECASE)
_METADATA = {"dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json"}


def open_hub(name: str, revision: str, folder: Path, open_files: ExitStack, *, max_bytes: int) -> Rows:
    """Return the rows of a hub dataset's data files, in the order of the files' paths.

    The data files are those with `train` in their path, or all if no path has it. They are fetched into `folder`, and
    closed by `open_files`. Raises a 422 Problem if the hub does not have the dataset or it is larger than `max_bytes`,
    503 if the hub is not available, and Unreadable.
    """
    paths = _fetch(name, revision, folder, max_bytes)
    files: dict[str, Rows] = {}
    for path in paths:
        file = open_files.enter_context((folder / path).open("rb"))
        try:
            files[path] = open_rows(file, _readable_name(file, path))
        except Unreadable as error:
            raise Unreadable(f"{path}: {error}") from None

    def read(columns: Collection[str]) -> Iterator[Any]:
        for path, rows in files.items():
            try:
                yield from rows.read(columns)
            except Unreadable as error:
                raise Unreadable(f"{path}: {error}") from None

    def count_filled(columns: Collection[str]) -> dict[str, int | None]:
        counts: dict[str, int | None] = {}
        for rows in files.values():
            for column, count in rows.count_filled(columns).items():
                before = counts.get(column, 0)
                counts[column] = None if before is None or count is None else before + count
        return counts

    return Rows(list(dict.fromkeys(column for rows in files.values() for column in rows.columns)), read, count_filled)


def _fetch(name: str, revision: str, folder: Path, max_bytes: int) -> list[str]:
    hub = HfApi()
    try:
        info = hub.dataset_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        sizes = _data_files({file.rfilename: file.size or 0 for file in info.siblings or []})
        if not sizes:
            raise invalid("hub", f"the dataset has no data files; supported are: {', '.join(READERS)}")
        if sum(sizes.values()) > max_bytes:
            raise invalid("hub", f"the dataset's data files are larger than {max_bytes} bytes")
        for path in sizes:
            hub.hf_hub_download(
                name, path, repo_type="dataset", revision=revision, local_dir=folder, etag_timeout=TIMEOUT_SECONDS
            )
    except RevisionNotFoundError:
        raise invalid("revision", "the hub has no such commit of the dataset") from None
    except (RepositoryNotFoundError, RemoteEntryNotFoundError):
        raise invalid("hub", "the hub has no such dataset, or it is not public") from None
    except (httpx2.HTTPError, OSError) as error:
        raise _unreachable(error) from error
    return list(sizes)


def _data_files(sizes: dict[str, int]) -> dict[str, int]:
    """Return those of a repository's files that hold the rows."""
    data = {
        path: size
        for path, size in sorted(sizes.items())
        if path.lower().endswith(tuple(READERS))
        and path.rsplit("/", 1)[-1] not in _METADATA
        and not any(part.startswith(".") or not part for part in path.split("/"))
    }
    return {path: size for path, size in data.items() if _NAMES_TRAIN.search(path)} or data


def _readable_name(file: IO[bytes], path: str) -> str:
    """Return the file's path with the extension of its format: many `.json` files on the hub contain JSON lines."""
    if not path.lower().endswith(".json"):
        return path
    start = file.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return path if start.startswith(b"[") else f"{path}l"


def _unreachable(error: Exception) -> Problem:
    log.warning("the hub is not available: %s", error)
    detail = "the hub is not available; send the request again later"
    return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "60"})
