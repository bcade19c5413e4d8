"""The Hugging Face Hub: what it has of a model, and fetching a model's files. Imports no torch.

`ModelLoadError` says that the hub does not give the model, which stays so; `HubUnreachable`, that it did not answer.
"""

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    get_token,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from models.loading.description import DESCRIBING, ModelFiles, describe_files
from models.loading.quantization_config import CONFIG, read_quantization_config
from models.loading.refs import ModelLoadError
from models.loading.weights import weight_files, weights_name

SMALL_FILES = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
"""What is downloaded from the hub beside the weights: configuration and tokenizer, but no Python code."""

MAX_DESCRIBING_BYTES = 50_000_000
"""Files that describe a model are fetched up to this size when it is looked up."""

ABANDONED_SECONDS = 600.0
"""A part of a file that was not written to for this long belongs to a process that was killed."""

REFUSALS = (401, 403)
"""Statuses by which the hub says that the token does not open the repository."""

SPARE_BYTES = 100_000_000
"""Disk space that stays free when a model is downloaded."""


class HubUnreachable(ConnectionError):
    """The hub did not answer, or answered that it can't at the moment. Another try may succeed."""


class NotOnHub(ModelLoadError):
    """The hub does not have the repository (`part` is `location`) or the revision of it (`revision`)."""

    def __init__(self, message: str, part: str) -> None:
        super().__init__(message)
        self.part = part


class AccessDenied(ModelLoadError):
    """The repository is gated or private, and the token does not open it."""


class DiskFull(ModelLoadError):
    """The hub's cache has no room for the files."""


@dataclass(frozen=True)
class HubModel:
    """What the hub has at a revision: its `commit`, and what its files are."""

    commit: str
    files: ModelFiles


@dataclass(frozen=True)
class Downloaded:
    """How many bytes of a model's files are in the cache, and how many there will be."""

    done: int
    total: int


def look_up(location: str, revision: str, seconds: float) -> HubModel:
    """Ask the hub for a model, and fetch the small files that describe it to a temporary folder.

    Raises HubUnreachable if that takes longer than `seconds`, and ModelLoadError if the hub does not give the model or
    if it has nothing that can be loaded.
    """
    answers: Queue[HubModel | Exception] = Queue()

    def ask() -> None:
        try:
            answers.put(_look_up(location, revision, seconds))
        except Exception as error:
            answers.put(error)

    # A thread of its own, since each of the requests has a time limit, and not all of them together.
    threading.Thread(target=ask, name="hub", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise HubUnreachable(f"the hub can't be reached: it did not answer within {seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def look_up_in_cache(location: str, revision: str) -> HubModel | None:
    """Return what the cache of this machine has of a model, or None. Needs no network. Raises ModelLoadError."""
    config = try_to_load_from_cache(location, CONFIG, revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        sizes = {file.path: file.size for file in get_cached_repo_tree(location, revision=folder.name)}
    except CachedRepoTreeNotFoundError:
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    return HubModel(folder.name, describe_files(location, folder, sizes))


def resolve(location: str, revision: str, seconds: float) -> str:
    """Return the commit of a branch or tag: the hub's, or if it can't be reached, the one in the cache.

    Raises HubUnreachable if neither is known, and ModelLoadError if the hub does not have it.
    """
    try:
        with hub_errors(location, revision):
            return str(HfApi().model_info(location, revision=revision, timeout=seconds).sha)
    except HubUnreachable:
        config = try_to_load_from_cache(location, CONFIG, revision=revision)
        if isinstance(config, str):
            return Path(config).parent.name
        raise


def fetch(location: str, commit: str, report: Callable[[Downloaded], None] | None = None) -> Path:
    """Download what a model needs to the hub's cache, and return its folder. What is there already is not fetched.

    The small files come first, and then the weights that they name: repositories have weights in several layouts.
    `report` is called from several threads. Raises HubUnreachable, and ModelLoadError, also if the disk is full.
    """
    with hub_errors(location, commit):
        folder = _download(location, commit, SMALL_FILES)
        try:
            sizes = {file.path: file.size for file in get_cached_repo_tree(location, revision=commit)}
        except CachedRepoTreeNotFoundError:  # fetched by an older version, and the hub does not answer
            return folder
        try:
            quantization = read_quantization_config(folder)
            name = weights_name([name for name in sizes if "/" not in name], quantization)
            weights = [file.name for file in weight_files(folder, name)]
        except (OSError, ValueError) as error:
            text = str(error).replace(str(folder), location)
            raise ModelLoadError(f"{location}: the hub's files can't be used: {text}") from error
        missing = [name for name in weights if name not in sizes]
        if missing:
            raise ModelLoadError(f"{location}: the hub's files can't be used: there is no {missing[0]}")
        wanted = {name: size for name, size in sizes.items() if name in weights or _is_small(name)}
        progress = _Progress(wanted, folder, report)
        if missing_bytes := progress.total - progress.done:
            _remove_abandoned_parts(folder)
            _check_space(location, folder, missing_bytes)
        progress.add(0)
        # No patterns of names here, which may contain any character: each file by itself.
        return _download(location, commit, [*SMALL_FILES, *map(_literal, weights)], progress)


@contextmanager
def hub_errors(location: str, revision: str | None, what: str = "model") -> Iterator[None]:
    """Raise HubUnreachable or a ModelLoadError for huggingface_hub's errors, in one sentence without an address.

    `what` is what the repository has: a model or a dataset.
    """
    try:
        yield
    except GatedRepoError as error:
        raise AccessDenied(
            f"{location}: the hub's repository is gated: accept its terms on its page, and set HF_TOKEN to a token of "
            "that account for the API and the workers"
        ) from error
    except RevisionNotFoundError as error:
        raise NotOnHub(
            f"{location}: the hub has no branch, tag or commit {revision} of this {what}", "revision"
        ) from error
    except RepositoryNotFoundError as error:
        if error.response.status_code == 404:
            raise NotOnHub(f"{location}: the hub has no {what} of this name", "location") from error
        token = "the hub does not accept HF_TOKEN for it" if get_token() else "set HF_TOKEN for the API and the workers"
        message = f"{location}: the hub has no public {what} of this name; if it is private, {token}"
        raise AccessDenied(message) from error
    except RemoteEntryNotFoundError as error:
        raise ModelLoadError(f"{location}: the hub does not have a file that it lists at {revision}") from error
    except DisabledRepoError as error:
        raise AccessDenied(f"{location}: the hub has disabled this {what}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in REFUSALS:
            raise _refused(location, status) from error
        raise HubUnreachable(f"the hub can't be reached: it answered with status {status}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.HTTPError, ConnectionError) as error:
        # snapshot_download says of any refused request that the cache lacks files
        if (refusal := _status(error)) in REFUSALS:
            raise _refused(location, refusal) from error
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _cause(error)
        raise HubUnreachable(f"the hub can't be reached: {reason}, and the cache lacks files of {location}") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(f"{location}: the disk of the hub's cache (HF_HOME) is full: free some space") from error


def _refused(location: str, status: int | None) -> AccessDenied:
    return AccessDenied(f"{location}: the hub refuses access with status {status}: check HF_TOKEN")


def _status(error: BaseException) -> int | None:
    """Return the status that the hub answered with, if that is why the error was raised."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HfHubHTTPError):
        cause = cause.__cause__
    return cause.response.status_code if cause is not None and cause.response is not None else None


def _look_up(location: str, revision: str, seconds: float) -> HubModel:
    with hub_errors(location, revision), tempfile.TemporaryDirectory(prefix="pagewright-hub-") as temporary:
        hub = HfApi()
        info: Any = hub.model_info(location, revision=revision, files_metadata=True, timeout=seconds)
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
        for name in DESCRIBING:
            if name in sizes and sizes[name] <= MAX_DESCRIBING_BYTES:
                hub.hf_hub_download(location, name, revision=info.sha, local_dir=temporary, etag_timeout=seconds)
        stored = info.safetensors.total if info.safetensors else None
        return HubModel(str(info.sha), describe_files(location, Path(temporary), sizes, stored))


def _download(location: str, commit: str, patterns: list[str], progress: "_Progress | None" = None) -> Path:
    # What is in subfolders are copies in other formats, such as Meta's in `original`.
    folder = snapshot_download(
        location,
        revision=commit,
        allow_patterns=patterns,
        ignore_patterns=["*/*"],
        tqdm_class=None if progress is None else progress.bar_class(),
    )
    return Path(folder)


def _literal(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _is_small(name: str) -> bool:
    return "/" not in name and any(fnmatch(name, pattern) for pattern in SMALL_FILES)


class _Progress:
    """Adds up the bytes of the files in the cache, and of those that are written to it."""

    def __init__(self, sizes: Mapping[str, int], folder: Path, report: Callable[[Downloaded], None] | None) -> None:
        self.total = sum(sizes.values())
        self.done = sum(size for name, size in sizes.items() if (folder / name).exists())
        self._report = report
        self._lock = threading.Lock()

    def add(self, count: float) -> None:
        with self._lock:
            self.done = min(self.total, self.done + int(count))
            downloaded = Downloaded(self.done, self.total)
        if self._report:
            self._report(downloaded)

    def bar_class(self) -> type[tqdm]:
        """Return a class of progress bars that show nothing. One of them counts the bytes that are written."""
        add = self.add

        class Bar(tqdm):
            def __init__(self, *args: Any, **options: Any) -> None:
                self._counts = options.get("name") == "huggingface_hub.snapshot_download"
                super().__init__(*args, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> None:
                if self._counts:
                    add(n or 0)

        return Bar


def _check_space(location: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise DiskFull(
            f"{location}: {needed / 1e9:.2f} GB are still to be downloaded, and the disk of the hub's cache (HF_HOME) "
            f"has {free / 1e9:.2f} GB left: free some space"
        )


def _remove_abandoned_parts(snapshot: Path) -> None:
    """Delete the parts of files that killed processes have left: huggingface_hub starts such files again."""
    for part in (snapshot.parents[1] / "blobs").glob("*.incomplete"):
        try:
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                os.unlink(part)
        except FileNotFoundError:
            continue


def _cause(error: BaseException) -> str:
    """Return the type of the first error, which a library may have wrapped in its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
