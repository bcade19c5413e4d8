"""Only the model itself is packaged: no wheel and no image has its generator, the benchmarks or the tests."""

import tomllib
from pathlib import Path

from setuptools import find_namespace_packages

ROOT = Path(__file__).parents[2]
UNPACKAGED = {"starter_model", "benchmarks", "tests"}


def test_a_wheel_has_the_starter_model_but_not_its_generator() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packages = find_namespace_packages(str(ROOT), include=settings["include"])
    assert "models.starter" in packages
    assert not UNPACKAGED & {package.split(".")[0] for package in packages}


def test_an_image_is_built_without_the_generator() -> None:
    assert set((ROOT / ".dockerignore").read_text().split()) >= UNPACKAGED
