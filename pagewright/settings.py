"""Every environment variable that Pagewright reads, once. Prefix: PAGEWRIGHT_."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict


def _psycopg_url(url: str) -> str:
    """PostgreSQL is always reached through psycopg 3, however the URL spells its scheme."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


def _whole_redis_url(url: str) -> str:
    """Refused in words of ours: the client's own repeat the URL, or as much of the password as it took for a port."""
    fault = "must be redis:// or rediss://, with what is no letter or digit in a password as %XX"
    parts = urlsplit(url)
    try:
        readable = parts.scheme in ("redis", "rediss") and (parts.port or True)
    except ValueError:
        raise ValueError(fault) from None
    if not readable:
        raise ValueError(fault)
    return url


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PAGEWRIGHT_", extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(Path("pagewright-data"), description="Where the embedded default keeps everything it owns.")
    database_url: Annotated[str, BeforeValidator(_psycopg_url)] = Field(
        "", repr=False, description="SQLAlchemy URL; empty means a SQLite file in data_dir."
    )
    redis_url: Annotated[str, AfterValidator(_whole_redis_url)] = Field("redis://127.0.0.1:6379/0", repr=False)
    models_dir: Path | None = Field(
        None, description="The only directory that local models are loaded from; default data_dir/models."
    )
    artifacts_url: str = Field(
        "", repr=False, description="Where datasets and trained models are kept: a path, or s3://bucket/prefix."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON.")
    metrics_token: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[!-~]*$")] = Field(
        "", repr=False, description="What `/metrics` asks for as a bearer token; empty: it is open to all."
    )

    host: str = Field("127.0.0.1", description="Where the API and the workers' metrics listen.")
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    max_body_bytes: PositiveInt = Field(64 * 1024 * 1024, description="A larger request body is refused with 413.")
    max_upload_bytes: PositiveInt = Field(1024**3, description="A larger upload of a dataset is refused with 413.")
    max_connections: PositiveInt = Field(4000, description="Connections to an API process; beyond, idle ones give way.")
    keep_alive_seconds: PositiveFloat = Field(
        75.0,
        description="For a connection between requests: longer than clients and proxies keep theirs, or a request may "
        "be sent into a connection that is being closed.",
    )
    slow_client_seconds: PositiveFloat = Field(
        20.0,
        description="For a request's head, to take nothing of an answer, and to fall behind 1 kB/s in sending a body.",
    )
    max_queued_per_key: PositiveInt = Field(20_000, description="Jobs a key may have queued before it gets 429.")
    max_queued: PositiveInt = Field(100_000, description="Jobs the server holds queued before everybody gets 429.")
    retry_after_seconds: PositiveInt = Field(5, description="What a 429 tells the client to wait.")
    watch_seconds: PositiveFloat = Field(0.05, description="How often an API process looks at jobs clients wait for.")

    server_url: str = Field("http://127.0.0.1:8000", description="The server that commands ask which are clients.")
    api_key: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[!-~]*$")] = Field(
        "", repr=False, description="As whom they ask."
    )
    alpaca_webgen: Path | None = Field(
        None,
        description="A file with the rows of ttbui/alpaca_webgen_html, which `experiment` uploads.",
    )

    max_attempts: PositiveInt = Field(3, description="Attempts that may be lost before a job fails.")
    lease_seconds: PositiveFloat = Field(30.0, description="How long a silent worker keeps its jobs.")
    heartbeat_seconds: PositiveFloat = Field(2.0, description="How often a worker extends its leases.")
    reconcile_seconds: PositiveFloat = Field(5.0, description="How often a worker looks for lost jobs.")
    lost_message_seconds: PositiveFloat = Field(
        10.0, description="How much longer than the queue's oldest message a job may have waited and not be lost."
    )
    shutdown_grace_seconds: PositiveFloat = Field(
        20.0, description="How long a worker told to stop lets short jobs finish before it gives them back."
    )
    worker_metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Where a worker serves its metrics, or the next port that is free; default: nowhere."
    )
    inference_concurrency: PositiveInt = Field(64, description="Messages an inference worker handles at once.")
    generation_time_limit_seconds: PositiveFloat = Field(1800.0, description="From claim to failure of a generation.")
    evaluation_time_limit_seconds: PositiveFloat = Field(
        86400.0, description="From claim to failure of an attempt at an evaluation."
    )
    evaluation_concurrency: PositiveInt = Field(4, description="Evaluations that an inference worker runs at once.")
    build_time_limit_seconds: PositiveFloat = Field(
        7 * 86400.0, description="From claim to failure of an attempt at a fine-tuning job."
    )
    model_memory_bytes: PositiveInt | None = Field(
        None, description="Memory for loaded models, least recently used out first; default: most of the device's."
    )

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'pagewright.sqlite3'}"

    @property
    def artifacts(self) -> str:
        return self.artifacts_url or str((self.data_dir / "artifacts").resolve())

    @property
    def uploads(self) -> Path:
        """Where an API process works on datasets that come in."""
        return self.data_dir / "uploads"

    @property
    def local_models(self) -> Path:
        return self.models_dir or self.data_dir / "models"


@lru_cache
def get_settings() -> Settings:
    return Settings()
