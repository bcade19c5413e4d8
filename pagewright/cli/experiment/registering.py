"""The dataset and the base model: found on the server, or registered there."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from api.schemas.models import HUB_NAME
from db.queries.models import BUNDLED
from db.vocabulary import ModelSource
from models.loading.quantization_config import read_quantization
from pagewright.cli.client import read, send, walk
from pagewright.cli.experiment.plan import DATASET, SEED, TEST_FRACTION, ExperimentError, Options
from pagewright.cli.experiment.results import Dataset, Model

REGISTER_SECONDS = 600.0
"""The server answers when it has fetched the dataset from the hub, and checked and stored its rows."""

HUB_SECONDS = 30.0

Found = TypeVar("Found")
Form = Mapping[str, tuple[str | None, str | bytes]]
"""A multipart form: by each field, the file's name, if it is a file, and the content."""


def register_dataset(client: httpx.Client, options: Options, file: Path | None) -> Dataset:
    """The experiment's dataset, split as the original was: uploaded from `file`, or fetched by the server from the hub.

    Its name tells the content, so one of that name that is there already is the same. Raises ExperimentError if the
    file can't be read or the hub can't be asked, and ServerError.
    """
    upload: Form
    if file:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ExperimentError(f"PAGEWRIGHT_ALPACA_WEBGEN: {file} can't be read: {error.strerror}") from None
        content_version = hashlib.sha256(content).hexdigest()
        upload = {"file": (file.name, content)}
    else:
        content_version = options.dataset_revision or _commit(
            lambda: HfApi().dataset_info(DATASET, timeout=HUB_SECONDS).sha,
            f"{DATASET}; PAGEWRIGHT_ALPACA_WEBGEN may name a file of its rows instead",
        )
        upload = {"hub": (None, DATASET), "revision": (None, content_version)}
    name = f"{options.name}-alpaca-webgen-{content_version[:8]}"
    return find_or_register(
        client, name, {**upload, "test_fraction": (None, str(TEST_FRACTION)), "seed": (None, str(SEED))}
    )


def find_or_register(client: httpx.Client, name: str, form: Form) -> Dataset:
    """The dataset of that name, made of the fields of `form` if there is none. Raises ServerError."""
    for found in walk(client, "/v1/datasets", Dataset, answered_before=False):
        if found.name == name:
            return found
    fields = {**form, "name": (None, name)}
    message = client.build_request("POST", "/v1/datasets", files=fields, timeout=REGISTER_SECONDS)
    return read(send(client, message, answered_before=True), Dataset)


def register_model(client: httpx.Client, options: Options) -> Model:
    """The base model. One that is not registered yet is bundled, `owner/name` on the hub, or else a folder among the
    server's local models.

    Raises ExperimentError if it is registered at another commit than asked for or the hub can't be asked, and
    ServerError.
    """
    name = options.model
    on_hub = name not in BUNDLED and HUB_NAME.fullmatch(name) is not None
    if not on_hub:
        name = Path(name).name
    for found in walk(client, "/v1/models", Model):
        if found.name == name:
            if options.revision and found.revision != options.revision:
                raise ExperimentError(f"the model {name} is registered at the commit {found.revision} already")
            return found
    body = {"name": name, "location": options.model}
    if on_hub:
        commit = _commit(lambda: HfApi().model_info(name, revision=options.revision, timeout=HUB_SECONDS).sha, name)
        body |= {"source": ModelSource.HUB, "revision": commit}
    else:
        body["source"] = ModelSource.BUNDLED if name in BUNDLED else ModelSource.LOCAL
    return read(send(client, client.build_request("POST", "/v1/models", json=body), answered_before=True), Model)


def is_gptq(model: Model) -> bool:
    """Whether the model's weights are quantized by GPTQ. Of a hub model the server does not know: its files tell.

    Raises ExperimentError if they are quantized in another way, or the hub can't be asked.
    """
    found = model.quantization
    if model.source == ModelSource.HUB:
        folder = _ask_hub(lambda: _configuration(model), model.location)
        found = read_quantization(Path(folder))
    if found and found["method"] != "gptq":
        raise ExperimentError(f"{model.name} is quantized by {found['method']}; it takes full precision or GPTQ")
    return found is not None


def _configuration(model: Model) -> str:
    files = ["config.json", "quantize_config.json"]
    return snapshot_download(model.location, revision=model.revision, allow_patterns=files, etag_timeout=HUB_SECONDS)


def _commit(ask: Callable[[], str | None], what: str) -> str:
    commit = _ask_hub(ask, what)
    if commit is None:
        raise ExperimentError(f"the hub names no commit of {what}")
    return commit


def _ask_hub(ask: Callable[[], Found], what: str) -> Found:
    try:
        return ask()
    except (RepositoryNotFoundError, RemoteEntryNotFoundError, RevisionNotFoundError):
        raise ExperimentError(f"the hub has no such repository or commit, or does not show it: {what}") from None
    except (httpx2.HTTPError, OSError) as error:
        raise ExperimentError(f"the hub can't be asked for {what} ({type(error).__name__})") from None
