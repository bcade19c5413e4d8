"""`pagewright settings`: the list of settings, which docs/operations.md contains."""

from pathlib import Path

import typer

from pagewright.settings import Settings


def settings() -> None:
    """List every environment variable that Pagewright reads, with its default, as a Markdown table."""
    typer.echo(table())


def table() -> str:
    rows = [
        f"| `PAGEWRIGHT_{name.upper()}` | {_shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _shown(default: object) -> str:
    if default is None or default == "":
        return ""
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"`{default}`" if isinstance(default, str | Path) else f"{default}"
