"""Dataset rows, and how a row becomes a prompt text."""
