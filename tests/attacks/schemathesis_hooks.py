"""What schemathesis must know about the server. Its configuration loads this module."""

import json
import os
import re
import uuid
from typing import Any

import schemathesis

from api.schemas.models import COMMIT, HUB_NAME
from models.prompts import templates

NAMES = {"model": "starter", "dataset": "pages"}
"""Existing things, for the fields that must name one. Random names would never match any."""

LOCAL_MODEL = "my-model"
HUB_MODEL = "on-the-hub"
HUB_DATASET = {"hub": "some/rows", "revision": "0" * 40}
ROWS = "\n".join(json.dumps({"instruction": f"Create page {number}.", "output": "<p>"}) for number in range(8))


@schemathesis.hook
def filter_case(_: Any, case: Any) -> bool:
    """Don't revoke the key of the attack itself: every later response would be 401."""
    return str((case.path_parameters or {}).get("key")) != os.environ["ATTACKERS_KEY_ID"]


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: Any) -> None:
    """Insert existing values where only the server's state makes a value valid."""
    for name, value in (case.path_parameters or {}).items():
        if value in (None, "None"):  # most jobs have no `batch_id` that could be used
            case.path_parameters[name] = str(uuid.uuid4())
    _insert_existing_names(case.query)
    if not isinstance(case.body, dict):
        return
    items = case.body.get("items")
    for body in [case.body, *(items if isinstance(items, list) else [])]:
        _insert_existing_names(body)
        _insert_valid_prompt(body)
        _whole_numbers(body)
    if case.path == "/v1/models" and case.body.get("source") == "local" and _is_name(case.body.get("location"), 500):
        case.body["location"] = LOCAL_MODEL
    if case.path == "/v1/pulls" and _is_name(case.body.get("model")):
        case.body["model"] = HUB_MODEL
    if case.path == "/v1/datasets" and case.method == "POST":
        _upload(case.body)


def _upload(form: dict[str, Any]) -> None:
    """Use either a file of rows or the dataset on the hub, and only columns and an encoding that they have."""
    if HUB_NAME.fullmatch(str(form.get("hub"))) and COMMIT.fullmatch(str(form.get("revision"))):
        form.update(HUB_DATASET)
        form.pop("file", None)
    else:
        form.update(file=ROWS)
        form.pop("revision", None)
        form.pop("hub", None)
    for name in ("columns", "config", "train_split", "test_split", "encoding"):
        form.pop(name, None)
    if isinstance(form.get("test_fraction"), float):
        form["test_fraction"] = min(form["test_fraction"], 0.5)


def _insert_existing_names(fields: Any) -> None:
    if isinstance(fields, dict):
        fields.update({field: name for field, name in NAMES.items() if _is_name(fields.get(field))})


def _insert_valid_prompt(fields: Any) -> None:
    """Name a template, and a variable of one: no schema says what is a Jinja text, or that no text has a U+0000."""
    if not isinstance(fields, dict):
        return
    if isinstance(fields.get("template"), str) and len(fields["template"]) <= templates.MAX_CHARACTERS:
        fields["template"] = templates.RAW
    variables = fields.get("chat_template_kwargs")
    if isinstance(variables, dict) and all(templates.VARIABLE.fullmatch(name) for name in variables):
        fields["chat_template_kwargs"] = dict.fromkeys(list(variables)[:9], True)


def _is_name(value: object, longest: int = 200) -> bool:
    return isinstance(value, str) and len(value) <= longest and re.fullmatch(r"[A-Za-z0-9._:/-]+", value) is not None


def _whole_numbers(node: Any) -> None:
    """Write 4.0 as 4: JSON Schema accepts it as an integer, the server does not. And replace integers just above
    2**63: the limits in the document are floats, which can't represent the difference."""
    for key, value in (
        list(node.items()) if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        if isinstance(value, float) and value.is_integer():
            node[key] = int(value)
        if isinstance(node[key], int) and 2**63 <= node[key] < 2**63 + 2**11:
            node[key] = 2**63 - 1
        _whole_numbers(value)
