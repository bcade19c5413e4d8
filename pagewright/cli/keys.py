"""`pagewright keys`: API keys, created on the server itself."""

from typing import Annotated

import typer

from db.queries import api_keys
from db.session import get_database
from db.vocabulary import Role

app = typer.Typer(no_args_is_help=True, help="Manage API keys.")


@app.callback()
def keys() -> None:
    """Manage API keys."""


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name to recognize the key by.")],
    role: Annotated[Role, typer.Option(help="What the key may do.")] = Role.USER,
) -> None:
    """Create an API key and print it. The key can't be shown again: the database stores its hash."""
    with get_database().write() as session:
        _, secret = api_keys.create(session, name, role)
    typer.echo(secret)
