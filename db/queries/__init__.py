"""The queries, one module per aggregate."""
