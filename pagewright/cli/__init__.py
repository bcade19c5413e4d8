"""The `pagewright` command."""
