"""References to models, their files, loading their weights, and adapters."""
