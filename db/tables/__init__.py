"""The tables, one file per aggregate.

Importing the package imports all of them: foreign keys are resolved by name, and migrations compare the whole.
"""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
