"""Each metric and each baseline is listed once, and everything that depends on the list covers all of it."""

import subprocess
import sys
from dataclasses import fields

from db.tables.evaluations import CHRF, Prediction
from models.scoring.baselines import BASELINES
from models.scoring.metrics import SCORERS, Scores
from models.scoring.names import BASELINE_PREFIX, Baseline, Metric


def test_every_metric_has_a_scorer_and_a_field_of_the_scores() -> None:
    assert set(SCORERS) == set(Metric)
    assert set(Metric) <= {field.name for field in fields(Scores)}


def test_every_score_is_a_column_of_the_predictions() -> None:
    assert {field.name for field in fields(Scores)} <= set(Prediction.__table__.columns.keys())


def test_the_metric_with_a_signature_is_chrf() -> None:
    assert CHRF == Metric.CHRF


def test_every_baseline_has_an_implementation_and_a_reserved_name() -> None:
    assert set(BASELINES) == set(Baseline)
    assert all(name.startswith(BASELINE_PREFIX) for name in Baseline)


def test_the_names_load_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "sacrebleu", "html5lib", "sklearn", "apted"}
    code = f"import sys, models.scoring.names; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
