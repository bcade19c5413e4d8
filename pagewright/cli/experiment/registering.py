"""Find the dataset and the base model on the server, or register them."""

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
from models.loading.quantization_config import quantization_summary
from pagewright.cli.client import read, send, walk
from pagewright.cli.experiment.plan import DATASET, SEED, TEST_FRACTION, ExperimentError, Options
from pagewright.cli.experiment.results import Dataset, Model

REGISTER_SECONDS = 600.0
"""Timeout of a registration. The server answers after it has fetched, checked and stored the rows."""

HUB_SECONDS = 30.0

Answer = TypeVar("Answer")
Form = Mapping[str, tuple[str | None, str | bytes]]
"""A multipart form: maps a field to its file name (None for a plain field) and its content."""


def register_dataset(client: httpx.Client, options: Options, file: Path | None) -> Dataset:
    """Return the experiment's dataset with the original's split: uploaded from `file`, or fetched by the server.

    Its name has a hash of its content, so an existing dataset of this name is the same. Raises ExperimentError if the
    file can't be read or the hub doesn't answer, and ServerError.
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
            f"{DATASET}; set PAGEWRIGHT_ALPACA_WEBGEN to read its rows from a file instead",
        )
        upload = {"hub": (None, DATASET), "revision": (None, content_version)}
    name = f"{options.name}-alpaca-webgen-{content_version[:8]}"
    return find_or_register(
        client, name, {**upload, "test_fraction": (None, str(TEST_FRACTION)), "seed": (None, str(SEED))}
    )


def find_or_register(client: httpx.Client, name: str, form: Form) -> Dataset:
    """Return the dataset of this name, or create it from the fields of `form`. Raises ServerError."""
    for dataset in walk(client, "/v1/datasets", Dataset, answered_before=False):
        if dataset.name == name:
            return dataset
    fields = {**form, "name": (None, name)}
    message = client.build_request("POST", "/v1/datasets", files=fields, timeout=REGISTER_SECONDS)
    return read(send(client, message, answered_before=True), Dataset)


def register_model(client: httpx.Client, options: Options) -> Model:
    """Return the base model, registering it if necessary.

    A model that is not registered yet is a bundled model, `owner/name` on the hub, or else a folder in the server's
    models directory. Raises ExperimentError if the model is registered at a commit other than `options.revision` or the
    hub doesn't answer, and ServerError.
    """
    name = options.model
    on_hub = name not in BUNDLED and HUB_NAME.fullmatch(name) is not None
    if not on_hub:
        name = Path(name).name
    for model in walk(client, "/v1/models", Model):
        if model.name == name:
            if options.revision and model.revision != options.revision:
                raise ExperimentError(f"the model {name} is already registered at the commit {model.revision}")
            return model
    body = {"name": name, "location": options.model}
    if on_hub:
        commit = _commit(lambda: HfApi().model_info(name, revision=options.revision, timeout=HUB_SECONDS).sha, name)
        body |= {"source": ModelSource.HUB, "revision": commit}
    else:
        body["source"] = ModelSource.BUNDLED if name in BUNDLED else ModelSource.LOCAL
    return read(send(client, client.build_request("POST", "/v1/models", json=body), answered_before=True), Model)


def is_gptq(model: Model) -> bool:
    """Return whether the model's weights are quantized by GPTQ.

    The server does not know this for a hub model, so its configuration is read from the hub. Raises ExperimentError for
    another quantization method, or if the hub doesn't answer.
    """
    quantization = model.quantization
    if model.source == ModelSource.HUB:
        folder = _ask_hub(lambda: _configuration(model), model.location)
        quantization = quantization_summary(Path(folder))
    if quantization and quantization["method"] != "gptq":
        raise ExperimentError(
            f"{model.name} is quantized by {quantization['method']}; the experiment needs full precision or GPTQ"
        )
    return quantization is not None


def _configuration(model: Model) -> str:
    files = ["config.json", "quantize_config.json"]
    return snapshot_download(model.location, revision=model.revision, allow_patterns=files, etag_timeout=HUB_SECONDS)


def _commit(ask: Callable[[], str | None], what: str) -> str:
    commit = _ask_hub(ask, what)
    if commit is None:
        raise ExperimentError(f"the hub returned no commit for {what}")
    return commit


def _ask_hub(ask: Callable[[], Answer], what: str) -> Answer:
    try:
        return ask()
    except (RepositoryNotFoundError, RemoteEntryNotFoundError, RevisionNotFoundError):
        raise ExperimentError(f"the hub has no such repository or commit, or access is denied: {what}") from None
    except (httpx2.HTTPError, OSError) as error:
        raise ExperimentError(f"the hub did not answer a request for {what} ({type(error).__name__})") from None
