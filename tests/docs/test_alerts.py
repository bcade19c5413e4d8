"""The alert rules use existing metrics, and the docs explain every alert and metric."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from api.app import create_app
from api.routes import metrics  # noqa: F401
from models.serving.pool import ModelPool
from workers.telemetry import EngineCollector

DOCS = Path(__file__).parents[2] / "docs"
RULES: list[dict[str, Any]] = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}


@pytest.fixture(scope="module")
def measured() -> dict[str, set[str]]:
    """Every series' name, with its labels."""
    families = [*REGISTRY.collect(), *EngineCollector(ModelPool()).collect()]
    found: dict[str, set[str]] = {}
    for family in families:
        for suffix in SUFFIXES.get(family.type, []):
            labels = {name for sample in family.samples for name in sample.labels}
            found[family.name + suffix] = labels
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_uses_metrics_that_exist(rule: dict[str, Any], measured: dict[str, set[str]]) -> None:
    series = re.findall(r"(pagewright_\w+)", rule["expr"])
    assert set(series) <= measured.keys()
    assert series or rule["expr"].startswith("up{")


def test_a_route_that_an_alert_names_exists() -> None:
    routes = {path for rule in RULES for path in re.findall(r'route!?="([^"]+)"', rule["expr"])}
    assert routes
    assert routes <= create_app().openapi()["paths"].keys()


def test_the_docs_say_what_to_do_about_each_alert_and_name_every_metric(measured: dict[str, set[str]]) -> None:
    text = (DOCS / "operations.md").read_text()
    assert re.findall(r"^\| `(Pagewright\w+)`", text, re.MULTILINE) == [rule["alert"] for rule in RULES]
    named = set(re.findall(r"`(pagewright_\w+)", text))
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in measured if name.startswith("pagewright_")}
    assert named == ours
