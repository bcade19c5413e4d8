from typing import Any

import pytest

from models.serving.engine import Sampling


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", float("nan")),
        ("top_k", -1),
        ("top_k", 2**31),
        ("seed", 2**63),
        ("stop", ("",)),
        ("stop_token_ids", (-1,)),
    ],
)
def test_a_sampling_parameter_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Sampling(**{field: value})
