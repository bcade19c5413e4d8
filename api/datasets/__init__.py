"""Creating datasets: reading files, checking rows, splitting and storing them.

The modules import pyarrow and `datasets`, which load slowly, so routes import them when they are called.
"""
