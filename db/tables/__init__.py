"""The tables, one module per aggregate.

Importing the package imports every table. SQLAlchemy resolves foreign keys by table name, shared queries iterate over
the tables that have a mixin, and migrations are compared with all tables.
"""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
