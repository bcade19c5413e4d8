"""What schemathesis must know about the server. Its configuration loads this module."""

import json
import os
import re
import uuid
from typing import Any

import schemathesis

from api.schemas.models import COMMIT, HUB_NAME

NAMES = {"model": "starter", "dataset": "pages"}
"""Existing things, for the fields that must name one. Random names would never match any."""

LOCAL_MODEL = "my-model"
HUB_DATASET = {"hub": "some/rows", "revision": "0" * 40}
ROWS = "\n".join(json.dumps({"instruction": f"Create page {number}.", "output": "<p>"}) for number in range(8))


@schemathesis.hook
def filter_case(_: Any, case: Any) -> bool:
    """The key that it attacks with is left alone: with that revoked, all that follows would be a stranger's 401."""
    return str((case.path_parameters or {}).get("key_id")) != os.environ["ATTACKERS_KEY_ID"]


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: Any) -> None:
    """Where only the server's state makes a value right, put one there that is."""
    for name, value in (case.path_parameters or {}).items():
        if value in (None, "None"):  # a job's `batch_id` is mostly null, and then no id to follow
            case.path_parameters[name] = str(uuid.uuid4())
    _name_what_is_there(case.query)
    if not isinstance(case.body, dict):
        return
    items = case.body.get("items")
    for body in [case.body, *(items if isinstance(items, list) else [])]:
        _name_what_is_there(body)
        _whole_numbers(body)
    if case.path == "/v1/models" and case.body.get("source") == "local" and _is_name(case.body.get("location"), 500):
        case.body["location"] = LOCAL_MODEL
    if case.path == "/v1/datasets" and case.method == "POST":
        _upload(case.body)


def _upload(form: dict[str, Any]) -> None:
    """Either a file of rows or the hub's dataset, and no columns that are not in it."""
    if HUB_NAME.fullmatch(str(form.get("hub"))) and COMMIT.fullmatch(str(form.get("revision"))):
        form.update(HUB_DATASET)
        form.pop("file", None)
    else:
        form.update(file=ROWS)
        form.pop("revision", None)
        form.pop("hub", None)
    form.pop("columns", None)
    if isinstance(form.get("test_fraction"), float):
        form["test_fraction"] = min(form["test_fraction"], 0.5)


def _name_what_is_there(fields: Any) -> None:
    if isinstance(fields, dict):
        fields.update({field: there for field, there in NAMES.items() if _is_name(fields.get(field))})


def _is_name(value: object, longest: int = 200) -> bool:
    return isinstance(value, str) and len(value) <= longest and re.fullmatch(r"[A-Za-z0-9._:/-]+", value) is not None


def _whole_numbers(node: Any) -> None:
    """JSON Schema takes 4.0 for an integer; the server wants integers written as such. And a document's limits are
    floats, which can't tell 2**63 from what is little above it."""
    for key, value in (
        list(node.items()) if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        if isinstance(value, float) and value.is_integer():
            node[key] = int(value)
        elif isinstance(value, int) and 2**63 <= value < 2**63 + 2**11:
            node[key] = 2**63 - 1
        _whole_numbers(value)
