"""All environment variables that Pagewright reads. Their prefix is PAGEWRIGHT_; `pagewright settings` lists them."""

import difflib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from pagewright.redis_connection import checked_url


def _psycopg_url(url: str) -> str:
    """Select the psycopg 3 driver for a PostgreSQL URL that names no driver."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


Port = Annotated[int, Field(ge=1, le=65535)]
Secret = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[!-~]*$")]
"""Printable ASCII without spaces, as a header can carry it."""


PREFIX = "PAGEWRIGHT_"

_KUBERNETES = re.compile(r"\w+(_SERVICE_(HOST|PORT\w*)=|_PORT_\d+_(TCP|UDP|SCTP)\w*=|_PORT=(tcp|udp|sctp)://).*")
"""What Kubernetes sets in every container for a Service whose name begins with `pagewright`."""


class UnknownSettings(Exception):
    """The environment has variables with Pagewright's prefix that it does not read. The message is for the user."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(
        Path("pagewright-data"),
        description="Directory for the SQLite database, artifacts, local models, uploads, work folders and log files.",
    )
    database_url: Annotated[str, BeforeValidator(_psycopg_url)] = Field(
        "",
        repr=False,
        description="SQLAlchemy URL of the database, such as `postgresql://user:password@host/name`. Default: a SQLite "
        "file in DATA_DIR.",
    )
    redis_url: Annotated[str, AfterValidator(checked_url)] = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description="URL of Redis: `redis://`, `rediss://` (TLS) or `unix:///path`. `pagewright up` starts its own "
        "Redis unless this is set.",
    )
    redis_prefix: Annotated[str, StringConstraints(pattern=r"^[!-~]*$", max_length=200)] = Field(
        "",
        description="Prefix of all keys and queues in Redis. Default: `pagewright:` and an id that the database keeps, "
        "so that installations can share a Redis.",
    )
    models_dir: Path | None = Field(
        None, description="Directory that local models are loaded from. Default: DATA_DIR/models."
    )
    artifacts_url: str = Field(
        "",
        repr=False,
        description="Where datasets, checkpoints and trained models are stored: a path, or `s3://bucket/prefix`. "
        "Default: DATA_DIR/artifacts.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level of Pagewright's own log lines. Lines of libraries are logged from INFO on."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Format of log lines: json, text, or auto, which is text on a terminal and JSON elsewhere."
    )
    metrics_token: Secret = Field(
        "", repr=False, description="Bearer token that `/metrics` of the API requires. Default: none is required."
    )

    host: str = Field("127.0.0.1", description="Address that the API and the workers' metrics listen on.")
    port: Port = Field(8000, description="TCP port of the API.")
    max_body_bytes: PositiveInt = Field(
        64 * 1024 * 1024, description="Largest request body in bytes, uploads excepted. A larger one gets 413."
    )
    max_upload_bytes: PositiveInt = Field(
        1024**3, description="Largest upload of a dataset in bytes. A larger one gets 413."
    )
    max_connections: PositiveInt = Field(
        4000,
        description="Open connections of an API process. When there are more, it closes idle ones, or answers 503.",
    )
    keep_alive_seconds: PositiveFloat = Field(
        75.0,
        description="Time after which the API closes an idle connection. Set it longer than the idle timeout of a "
        "proxy in front of the API; otherwise the proxy may send a request on a connection that is being closed.",
    )
    slow_client_seconds: PositiveFloat = Field(
        20.0,
        description="Time limit for a client to send the head of a request, to accept more of a response, and for "
        "falling behind 1 kB/s while it sends a body.",
    )
    max_queued_per_key: PositiveInt = Field(
        20_000, description="Queued jobs that an API key may have. Further submissions get 429."
    )
    max_queued: PositiveInt = Field(
        100_000, description="Queued jobs that the server accepts in total. Further submissions get 429."
    )
    retry_after_seconds: PositiveInt = Field(5, description="Value of the `Retry-After` header of a 429 response.")
    watch_seconds: PositiveFloat = Field(
        0.05,
        description="Interval at which an API process reads the state of the jobs that clients wait for "
        "(`Prefer: wait`, event streams).",
    )

    server_url: str = Field(
        "http://127.0.0.1:8000",
        description="Address of the server that `evaluate`, `experiment` and `warm` send requests to.",
    )
    api_key: Secret = Field("", repr=False, description="API key that `evaluate`, `experiment` and `warm` use.")
    alpaca_webgen: Path | None = Field(
        None,
        description="File with the rows of ttbui/alpaca_webgen_html for `experiment`. Default: download from the hub.",
    )

    max_attempts: PositiveInt = Field(
        3, description="Attempts at a job. The job fails when a worker was lost in the last of them."
    )
    lease_seconds: PositiveFloat = Field(
        30.0, description="Time after the last heartbeat of a worker until its jobs are queued again."
    )
    heartbeat_seconds: PositiveFloat = Field(2.0, description="Interval at which a worker extends its leases.")
    reconcile_seconds: PositiveFloat = Field(5.0, description="Interval at which a worker looks for lost jobs.")
    lost_message_seconds: PositiveFloat = Field(
        10.0,
        description="Margin for lost messages: the message of a queued job counts as lost, and is sent again, when the "
        "job was published this much earlier than the oldest message in the queue.",
    )
    shutdown_grace_seconds: PositiveFloat = Field(
        20.0,
        description="Time that a worker gives short jobs to finish after SIGTERM. Then it queues them again. The "
        "service manager's own time limit must be longer.",
    )
    worker_metrics_port: Port | None = Field(
        None,
        description="TCP port at which a worker serves `/metrics`. If it is taken, the next free one of the 31 "
        "following ports is used. Default: no metrics of workers.",
    )
    inference_concurrency: PositiveInt = Field(
        64, description="Messages of up to 16 generations that an inference worker handles at the same time."
    )
    generation_time_limit_seconds: PositiveFloat = Field(
        1800.0, description="Time limit of a generation, from the moment a worker claims it."
    )
    evaluation_time_limit_seconds: PositiveFloat = Field(
        86400.0, description="Time limit of one attempt at an evaluation. Default: one day."
    )
    evaluation_concurrency: PositiveInt = Field(
        4, description="Evaluations that an inference worker runs at the same time."
    )
    build_time_limit_seconds: PositiveFloat = Field(
        7 * 86400.0,
        description="Time limit of one attempt at a fine-tune, merge or quantization. Default: one week.",
    )
    model_memory_bytes: PositiveInt | None = Field(
        None,
        description="Memory for the weights and caches of loaded models in an inference worker. When it is full, the "
        "least recently used model is unloaded. Default: 85 % of the GPU's memory, or half of RAM without a GPU.",
    )
    preload: str = Field(
        "",
        description="Models that an inference worker loads when it starts, in this order: names or ids, separated by "
        "commas. It runs jobs meanwhile. Models that do not fit into MODEL_MEMORY_BYTES together replace each other, "
        "the least recently used first.",
    )

    context_length: PositiveInt | None = Field(
        None,
        description="Most tokens of a prompt and its completion, for every model. Default: the positions in the "
        "model's configuration, scaled as it says, or 4096 if it names none.",
    )

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'pagewright.sqlite3'}"

    @property
    def artifacts(self) -> str:
        """The path or URL of the artifact store."""
        return self.artifacts_url or str((self.data_dir / "artifacts").resolve())

    @property
    def uploads(self) -> Path:
        """The directory in which an API process checks uploaded datasets."""
        return self.data_dir / "uploads"

    @property
    def preloaded_models(self) -> list[str]:
        """The models that an inference worker loads when it starts."""
        return [name.strip() for name in self.preload.split(",") if name.strip()]

    @property
    def local_models(self) -> Path:
        """The directory that local models are loaded from."""
        return self.models_dir or self.data_dir / "models"


@lru_cache
def get_settings() -> Settings:
    """Read the environment once.

    Raises pydantic.ValidationError for invalid values, and UnknownSettings if there are variables with the prefix that
    Pagewright does not read: one with a spelling mistake would leave its setting at the default without a word.
    """
    _refuse_unknown(os.environ)
    return Settings()


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    faults = [
        _unknown(name, known)
        for name, value in sorted(environment.items())
        if name.upper().startswith(PREFIX) and name.upper() not in known and not _KUBERNETES.match(f"{name}={value}")
    ]
    if faults:
        raise UnknownSettings("\n".join(faults))


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known], 1)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else "`pagewright settings` lists those that there are"
    return f"{name}: there is no such setting; {hint}"
