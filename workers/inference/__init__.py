"""Generation and evaluation jobs."""
