import itertools
import random

import pytest

from luq.allocation.knapsack import least_score, random_plan


def cost(table, chosen):
    return sum(row[c] for row, c in zip(table, chosen, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_no_plan_within_the_budget_has_a_lower_summed_score(seed):
    """Oracle: every plan."""
    rng = random.Random(seed)
    scores = [[rng.uniform(-0.1, 1) for _ in range(4)] for _ in range(6)]
    sizes = [[rng.randrange(1_000_000, 9_000_000, 1000) for _ in range(4)] for _ in range(6)]
    plans = list(itertools.product(range(4), repeat=6))
    for share in (0.3, 0.5, 0.8):
        budget = int(
            min(cost(sizes, p) for p in plans) * (1 - share)
            + max(cost(sizes, p) for p in plans) * share
        )
        best = min(cost(scores, p) for p in plans if cost(sizes, p) <= budget)
        chosen = least_score(scores, sizes, budget)
        assert cost(sizes, chosen) <= budget
        assert cost(scores, chosen) == pytest.approx(best)


def test_a_plan_that_fills_the_budget_to_the_byte_is_found():
    sizes = [[3_000_001, 1]] * 4
    scores = [[0.0, 1.0]] * 4
    assert cost(sizes, least_score(scores, sizes, 2 * 3_000_001 + 2)) == 2 * 3_000_001 + 2
    assert least_score(scores, sizes, 2 * 3_000_001 + 1).count(0) == 1
    assert least_score(scores, sizes, 4 * 3_000_001) == [0, 0, 0, 0]


def test_a_budget_below_the_smallest_plan_is_refused():
    for plan in (
        lambda: least_score([[0, 1]], [[20, 10]], 9),
        lambda: random_plan([[20, 10]], 9, 0),
    ):
        with pytest.raises(
            ValueError, match="a budget of 9 bytes is below the smallest plan, which needs 10"
        ):
            plan()


def test_random_plans_differ_by_seed_stay_within_the_budget_and_leave_no_room():
    sizes = [[40, 30, 20]] * 8
    plans = {tuple(random_plan(sizes, 240, seed)) for seed in range(20)}
    assert len(plans) > 10
    for plan in plans:
        spent = cost(sizes, plan)
        assert spent <= 240
        assert all(
            spent + bigger - row[c] > 240
            for row, c in zip(sizes, plan, strict=True)
            for bigger in row
            if bigger > row[c]
        )
    assert random_plan(sizes, 240, 3) == random_plan(sizes, 240, 3)
