"""Datasets from the Hugging Face Hub: the data files of one commit. Scripts in the repository are never fetched."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from api.datasets.files import open_rows
from api.datasets.hub_configs import SUFFIXES, Splits, data_files, splits_of
from api.datasets.limits import Unreadable
from api.datasets.unchecked import Rows, Unchecked
from api.datasets.unpacking import Opening
from api.datasets.values import cut
from api.errors import Problem, ProblemType, invalid
from models.loading.hub import DiskFull, HubUnreachable, NotOnHub, hub_errors
from models.loading.refs import ModelLoadError

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
MAX_CARD_BYTES = 2_000_000

TRAIN = "train"
TEST_SPLITS = ("test", "validation")
"""The splits of the hub that become the test split unless one is named. The first that there is counts."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks of a hub dataset. Without `own_test` the dataset's own test split is left out."""

    name: str
    revision: str
    config: str | None = None
    train_split: str | None = None
    test_split: str | None = None
    own_test: bool = True


@dataclass(frozen=True)
class Source:
    """The unchecked rows of an upload or a hub dataset, and the hub's configuration and splits that they are from."""

    train: Rows
    test: Rows | None = None
    config: str | None = None
    train_split: str | None = None
    test_split: str | None = None


def open_hub(wanted: Wanted, folder: Path, opening: Opening) -> Source:
    """Fetch the files of the wanted splits into `folder`, and return their rows in the order of the files' paths.

    Raises a 422 Problem if the hub does not have the dataset, if a configuration or a split must be chosen, or if the
    files are larger than `opening.max_bytes`; 503 if the hub is not available; and Unreadable.
    """
    repository = _Repository(wanted.name, wanted.revision, folder)
    sizes = repository.sizes()
    paths = data_files(sizes)
    config, splits = splits_of(paths, repository.card(sizes), wanted.config)
    if not splits:
        raise invalid("hub", f"the dataset has no data files; supported are: {', '.join(SUFFIXES)}")
    train, test = _choose_splits(splits, wanted)
    files = splits[train] + (splits[test] if test else [])
    if sum(sizes[path] for path in files) > opening.max_bytes:
        raise invalid("hub", f"the dataset's data files are larger than {opening.max_bytes} bytes")
    for path in files:
        repository.fetch(path)
    test_rows = _open(splits[test], folder, opening) if test else None
    return Source(_open(splits[train], folder, opening), test_rows, config, train, test)


def _choose_splits(splits: Splits, wanted: Wanted) -> tuple[str, str | None]:
    listed = f"the splits are: {', '.join(splits)}"
    for field, split in ("train_split", wanted.train_split), ("test_split", wanted.test_split):
        if split is not None and split not in splits:
            raise invalid(field, f"there is no split {cut(split)}; {listed}")
    train = wanted.train_split or TRAIN
    if train not in splits:
        raise invalid("train_split", f"the dataset has no split `{TRAIN}`; name the one to train on; {listed}")
    usual = next((split for split in TEST_SPLITS if split in splits and split != train), None)
    test = wanted.test_split or (usual if wanted.own_test else None)
    if test == train:
        raise invalid("test_split", f"is the split that the train rows come from; {listed}")
    return train, test


def _open(paths: Sequence[str], folder: Path, opening: Opening) -> Rows:
    """Return the rows of several files as one."""
    files: dict[str, Rows] = {}
    for path in paths:
        file = opening.open_files.enter_context((folder / path).open("rb"))
        try:
            files[path] = open_rows(file, opening)
        except Unreadable as error:
            raise Unreadable(f"{path}: {error}") from None

    def read(columns: Collection[str]) -> Iterator[Unchecked]:
        for path, rows in files.items():
            try:
                for row in rows.read(columns):
                    yield row._replace(file=path)
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


class _Repository:
    """A dataset's files on the hub at a commit. The methods raise a 422 or a 503 Problem."""

    def __init__(self, name: str, revision: str, folder: Path) -> None:
        self._name, self._revision, self._folder = name, revision, folder

    def sizes(self) -> dict[str, int]:
        """Return the size of each file by its path."""
        hub = HfApi()
        with self._errors():
            info = hub.dataset_info(self._name, revision=self._revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        return {file.rfilename: file.size or 0 for file in info.siblings or []}

    def card(self, sizes: Mapping[str, int]) -> str:
        """Return the text of README.md, empty if there is none."""
        if not 0 < sizes.get("README.md", 0) <= MAX_CARD_BYTES:
            return ""
        self.fetch("README.md")
        return (self._folder / "README.md").read_text(encoding="utf-8", errors="replace")

    def fetch(self, path: str) -> None:
        """Download a file into the folder."""
        with self._errors():
            HfApi().hf_hub_download(
                self._name,
                path,
                repo_type="dataset",
                revision=self._revision,
                local_dir=self._folder,
                etag_timeout=TIMEOUT_SECONDS,
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with hub_errors(self._name, self._revision, "dataset"):
                yield
        except (HubUnreachable, DiskFull, OSError) as error:
            log.warning("the hub's dataset %s can't be fetched: %s", self._name, error)
            detail = "the hub is not available; send the request again later"
            raise Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "60"}) from error
        except ModelLoadError as error:
            field = error.part if isinstance(error, NotOnHub) and error.part == "revision" else "hub"
            raise invalid(field, str(error).removeprefix(f"{self._name}: ")) from None
