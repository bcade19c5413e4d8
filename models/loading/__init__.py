"""Which model is meant, its files, its weights, and the adapters over them."""
