"""Build jobs: fine-tunes, merges and quantizations. Each makes a model in a separate process."""
