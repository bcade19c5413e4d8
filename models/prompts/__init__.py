"""How a dataset's row becomes a prompt."""
