"""Which files of a hub dataset belong to which configuration and split, as the library `datasets` finds them.

Only the names of the files are needed. The library looks them up in a folder of empty files.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets.data_files import SPLIT_KEYWORDS, EmptyDatasetError, get_data_patterns, resolve_pattern, sanitize_patterns
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from api.datasets.values import cut
from api.errors import invalid

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""The files that are looked at. Each may also be compressed (`.gz`, `.zst`)."""

Splits = dict[str, list[str]]
"""The paths of the files of each split, by the split's name."""

_SPLIT_NAME = re.compile(
    rf"(^|[-._ 0-9])({'|'.join(word for words in SPLIT_KEYWORDS.values() for word in words)})($|[-._ 0-9])",
    re.IGNORECASE,
)
_NOT_DATA = {"dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json", "config.json"}


def data_files(paths: Collection[str]) -> list[str]:
    """Return those paths of a repository that may hold rows, sorted."""
    return [
        path
        for path in sorted(paths)
        if path.lower().removesuffix(".gz").removesuffix(".zst").endswith(SUFFIXES)
        and path.rsplit("/", 1)[-1] not in _NOT_DATA
        and not any(part.startswith(".") or not part for part in path.split("/"))
    ]


def splits_of(paths: Collection[str], card: str, config: str | None) -> tuple[str | None, Splits]:
    """Return the name of a configuration and its splits.

    `paths` are the data files, `card` the text of README.md, and `config` the configuration that the request names.
    The name is None if the dataset has no configurations. Raises a 422 Problem that lists the configurations if one
    must be chosen.
    """
    configs, default = _card_configs(card)
    folders = {} if configs else _folder_configs(paths)
    names = [*configs, *folders]
    if not names:
        if config is not None:
            raise invalid("config", "the dataset has no configurations; leave `config` out")
        return None, _resolve(paths, {})
    chosen = config or default or (names[0] if len(names) == 1 else None)
    if chosen not in names:
        problem = "the dataset has several configurations; name one" if config is None else f"there is no {cut(config)}"
        raise invalid("config", f"{problem}; the configurations are: {', '.join(names[:50])}")
    if chosen in folders:
        return chosen, _resolve(folders[chosen], {})
    return chosen, _resolve(paths, configs[chosen])


def _card_configs(card: str) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Return the configurations that a dataset card describes, and the name of its default."""
    try:
        data = DatasetCard(card).data.to_dict()
        fields = ("config_name", "data_files", "data_dir", "default")
        entries = [{key: entry[key] for key in fields if key in entry} for entry in data.get("configs") or ()]
        configs = MetadataConfigs.from_dataset_card_data({"configs": entries})
        return dict(configs), configs.get_default_config_name()
    except Exception as error:  # the card may hold anything, and YAML has errors of its own
        raise invalid("hub", f"the metadata in the dataset's README.md can't be read: {cut(str(error))}") from None


def _folder_configs(paths: Collection[str]) -> dict[str, list[str]]:
    """Return the files of each folder that has a dataset of its own, none if all files are one dataset.

    Folders that are called `data` or after a split do not count.
    """
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        parts = [part for part in path.split("/")[:-1] if part != "data" and not _SPLIT_NAME.search(part)]
        folders["/".join(parts)].append(path)
    return dict(folders) if len(folders) > 1 and "" not in folders else {}


def _resolve(paths: Collection[str], config: dict[str, Any]) -> Splits:
    """Return the files of each split of a configuration, whose fields are those of the dataset card."""
    with TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for path in paths:
            file = (root / path).resolve()
            if file.is_relative_to(root):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
        base = root / _inside(str(config.get("data_dir") or ""))
        try:
            patterns = (
                sanitize_patterns(config["data_files"]) if config.get("data_files") else get_data_patterns(str(base))
            )
            found = {str(split): list(_matches(root, base, texts)) for split, texts in patterns.items()}
        except (EmptyDatasetError, ValueError):
            found = {}
    return {split: files for split, files in found.items() if files}


def _matches(root: Path, base: Path, patterns: Collection[str]) -> Iterator[str]:
    seen: set[str] = set()
    for pattern in patterns:
        try:
            files = resolve_pattern(_inside(pattern), str(base))
        except (
            FileNotFoundError
        ):  # the files are of a kind that has no rows, or the card names files that are not there
            continue
        for file in sorted(files):
            path = Path(file).relative_to(root).as_posix()
            if path not in seen:
                seen.add(path)
                yield path


def _inside(pattern: str) -> str:
    """Return a pattern of a dataset card. Raises a 422 Problem if it is not about the repository's own files."""
    pattern = pattern.removeprefix("./")
    if "::" in pattern or "://" in pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise invalid("hub", f"the dataset's README.md names files outside of the dataset: {cut(pattern)}")
    return pattern
