"""Every benchmark can be imported, and so finds everything that it uses of Pagewright."""

import importlib
import pkgutil

import pytest

import benchmarks

# `harness` runs in the environment of lm-evaluation-harness, which benchmarks.evaluation installs.
MODULES = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "harness"]


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")
