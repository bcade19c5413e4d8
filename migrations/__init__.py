"""Alembic migrations, and the two calls that run them."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def config(url: str) -> Config:
    """Alembic's configuration for the database at `url`, without an ini file."""
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent))
    configuration.attributes["url"] = url
    return configuration


def upgrade(url: str, revision: str = "head") -> None:
    command.upgrade(config(url), revision)


def downgrade(url: str, revision: str = "base") -> None:
    command.downgrade(config(url), revision)
