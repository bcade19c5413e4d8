import math

import pytest
import torch

from models.serving.in_process.sampling import pick_tokens, uniform

PROBABILITIES = [0.5, 0.2, 0.15, 0.1, 0.05]


def pick(draw: float, *, temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0) -> int:
    """The token picked from five with the probabilities above."""
    logits = torch.tensor([[math.log(p) for p in PROBABILITIES]])
    tokens = pick_tokens(
        logits,
        torch.tensor([temperature]),
        torch.tensor([top_p]),
        torch.tensor([top_k], dtype=torch.int32),
        torch.tensor([draw]),
    )
    return int(tokens[0])


@pytest.mark.parametrize(
    ("draw", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.69, 1), (0.71, 2), (0.94, 3), (0.96, 4)]
)
def test_a_draw_inverts_the_cumulative_distribution(draw: float, token: int) -> None:
    assert pick(draw) == token


def test_temperature_0_takes_the_likeliest_token_whatever_the_draw() -> None:
    assert {pick(draw, temperature=0.0) for draw in (0.0, 0.6, 0.99)} == {0}


def test_a_low_temperature_sharpens_and_a_high_one_flattens_the_distribution() -> None:
    assert pick(0.9, temperature=0.1) == 0
    assert pick(0.9, temperature=100.0) == 4


@pytest.mark.parametrize(("top_k", "last"), [(1, 0), (2, 1), (4, 3), (0, 4), (100, 4)])
def test_top_k_keeps_the_likeliest_tokens(top_k: int, last: int) -> None:
    assert pick(0.999, top_k=top_k) == last


@pytest.mark.parametrize(("top_p", "last"), [(1e-6, 0), (0.4, 0), (0.6, 1), (0.8, 2), (1.0, 4)])
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p: float, last: int) -> None:
    assert pick(0.999, top_p=top_p) == last


def test_rows_of_one_batch_are_sampled_by_their_own_parameters() -> None:
    logits = torch.tensor([[math.log(p) for p in PROBABILITIES]]).repeat(3, 1)
    tokens = pick_tokens(
        logits,
        torch.tensor([0.0, 1.0, 1.0]),
        torch.tensor([1.0, 1.0, 0.6]),
        torch.tensor([0, 0, 0], dtype=torch.int32),
        torch.tensor([0.96, 0.96, 0.96]),
    )
    assert tokens.tolist() == [0, 4, 1]


def test_draws_are_reproducible_below_1_and_spread_over_the_range() -> None:
    draws = [uniform(seed, position) for seed in (-(2**63), 0, 2**63 - 1) for position in range(1000)]
    assert draws == [uniform(seed, position) for seed in (-(2**63), 0, 2**63 - 1) for position in range(1000)]
    assert all(0 <= draw < 1 and float(torch.tensor(draw, dtype=torch.float32)) == draw for draw in draws)
    tenths = [sum(int(10 * draw) == tenth for draw in draws) for tenth in range(10)]
    assert all(200 < count < 400 for count in tenths)
