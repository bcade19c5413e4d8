"""The engine in the worker's own process, on transformers' continuous batching."""
