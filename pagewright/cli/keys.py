"""`pagewright keys`: API keys, created, listed and revoked on the server itself."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, NoReturn

import typer

from db.queries import api_keys
from db.session import get_database
from db.tables.api_keys import ApiKey
from db.vocabulary import Role
from pagewright.cli.examples import examples

ROLES = (
    "user: submits generations and evaluations; sees its own jobs, and all evaluations, models and datasets. "
    "admin: also registers and merges models, uploads and deletes datasets, fine-tunes, quantizes, pulls, manages API "
    "keys, and sees all jobs."
)

app = typer.Typer(
    no_args_is_help=True, help="Manage API keys.", epilog=examples("pagewright keys create anna --role admin")
)


@app.callback()
def keys() -> None:
    """Manage API keys."""


@app.command("create", epilog=examples("pagewright keys create anna", "pagewright keys create ci --role admin"))
def create(
    name: Annotated[str, typer.Argument(help="A name to recognize the key by.")],
    role: Annotated[Role, typer.Option(help=ROLES)] = Role.USER,
) -> None:
    """Create an API key and print it. The key can't be shown again: the database stores its hash."""
    with get_database().write() as session:
        _, secret = api_keys.create(session, name, role)
    typer.echo(secret)


@app.command("list", epilog=examples("pagewright keys list"))
def list_keys() -> None:
    """List all API keys, newest first, with the revoked ones. The keys themselves are not stored."""
    with get_database().read() as session:
        keys = api_keys.all_keys(session)
    rows = [("NAME", "ROLE", "KEY", "CREATED", "REVOKED", "ID")]
    rows += [
        (one.name, one.role, f"{one.prefix}…", _shown(one.created_at), _shown(one.revoked_at), str(one.id))
        for one in keys
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command("revoke", epilog=examples("pagewright keys revoke anna"))
def revoke(
    key: Annotated[str, typer.Argument(help="The key's name or id, as `pagewright keys list` shows them.")],
) -> None:
    """Revoke an API key immediately and permanently. Its jobs are kept, and those not finished continue."""
    with get_database().write() as session:
        found = api_keys.find(session, key)
        valid = [one for one in found if one.revoked_at is None]
        if not found:
            _refuse(f"there is no API key with the name or id {key!r}; `pagewright keys list` lists them")
        if not valid:
            _refuse(f"the API key {key!r} is revoked already")
        if len(valid) > 1:
            _refuse(f"{len(valid)} valid API keys have the name {key!r}; use the id of one: {_ids(valid)}")
        api_keys.revoke(session, valid[0].id)
    typer.echo(f"revoked {valid[0].name} ({valid[0].prefix}…)")


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M")


def _ids(keys: Sequence[ApiKey]) -> str:
    return ", ".join(str(one.id) for one in keys)


def _refuse(message: str) -> NoReturn:
    typer.echo(f"pagewright: {message}", err=True)
    raise typer.Exit(1)
