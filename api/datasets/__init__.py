"""From a file to a dataset: read, check, split, store. Imports pyarrow and `datasets`, so routes import it late."""
