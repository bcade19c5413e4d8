"""Limits, recipes and names of a run."""

from collections.abc import Mapping
from typing import Any

import pytest

from pagewright.cli.experiment.plan import STARTER_RECIPE, Options, named

BODY: Mapping[str, Any] = {"model": "starter", "dataset": "pages", "options": {}}


@pytest.mark.parametrize(
    ("options", "test_rows", "limits"),
    [
        (Options(), 132, [22, None]),
        (Options(), 22, [None]),
        (Options(), 9, [None]),
        (Options(first=2, limit=4), 132, [2, 4]),
        (Options(first=4, limit=4), 132, [4]),
        (Options(first=5, limit=4), 132, [4]),
        (Options(limit=500), 132, [22, None]),
    ],
)
def test_the_first_rows_and_all_rows_are_evaluated_unless_they_are_the_same(
    options: Options, test_rows: int, limits: list[int | None]
) -> None:
    assert options.limits(test_rows) == limits


def test_the_starter_has_a_recipe_and_other_models_use_the_defaults() -> None:
    assert Options().recipe() == STARTER_RECIPE
    assert Options(model="owner/name").recipe() == {"lora": {}, "training": {}}


def test_given_options_replace_a_part_of_the_recipe_as_a_whole() -> None:
    recipe = Options(lora={"r": 4}, training={"seed": 1}).recipe()
    assert recipe == {"lora": {"r": 4}, "training": {"seed": 1}}


def test_a_number_of_steps_replaces_only_the_epochs() -> None:
    recipe = Options(training={"num_train_epochs": 3, "seed": 1}, max_steps=2).recipe()
    assert recipe["training"] == {"seed": 1, "max_steps": 2}
    assert "num_train_epochs" in STARTER_RECIPE["training"]


def test_different_options_give_different_names() -> None:
    name = named(Options(), "gptq", BODY, None)["name"]
    assert name == named(Options(), "gptq", dict(reversed(list(BODY.items()))), None)["name"]
    others = {
        named(Options(), "gptq", {**BODY, "options": {"bits": 8}}, None)["name"],
        named(Options(), "gptq", {**BODY, "dataset": "others"}, None)["name"],
        named(Options(), "gptq", BODY, "0" * 40)["name"],
        named(Options(), "lora", BODY, None)["name"],
        named(Options(name="fresh"), "gptq", BODY, None)["name"],
    }
    assert len(others - {name}) == 5


@pytest.mark.parametrize("model", ["owner/name", "/a/folder", "x" * 500, "with blanks"])
def test_a_name_is_valid_for_the_server(model: str) -> None:
    name = named(Options(model=model), "gptq-lora", BODY, None)["name"]
    assert len(name) <= 200
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/-")
