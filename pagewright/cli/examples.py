"""The examples that `--help` shows below a command's options."""


def examples(*lines: str) -> str:
    """Return the examples as paragraphs, since typer joins the lines of one."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])
