"""One file per resource: thin endpoints over typed dependencies."""
