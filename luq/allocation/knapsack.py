"""Quantizers for the parts of a model within a budget of bytes.

Either with the least summed score, or a random plan for comparison.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from luq.types import OptionError


def least_score(
    scores: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]], budget: int
) -> list[int]:
    """Choose a candidate for each part with the least summed score within the budget.

    A multiple-choice knapsack, solved exactly as an integer program. It assumes that the scores of
    parts add up.

    Args:
        scores: [part][candidate].
        sizes: [part][candidate], in bytes.
        budget: in bytes.

    Returns:
        The number of the candidate for each part.

    Raises:
        OptionError: The budget is below the smallest plan.
        ValueError: The solver finds no plan.
    """
    _require_feasible(sizes, budget)
    shape = (len(scores), len(scores[0]))
    each_once = np.kron(np.eye(shape[0]), np.ones(shape[1]))
    # In small integers the solver's tolerance is below any real difference.
    unit = math.gcd(*np.ravel(sizes).tolist())
    limits = [
        LinearConstraint(each_once, 1, 1),
        LinearConstraint(np.ravel(sizes)[None] / unit, -np.inf, budget // unit),
    ]
    cost = np.ravel(scores).astype(float)
    cost /= np.abs(cost).max() or 1
    solution = milp(
        cost,
        constraints=limits,
        integrality=np.ones(cost.size),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    if solution.x is None:
        raise ValueError(f"the solver found no plan within {budget} bytes: {solution.message}")
    chosen = [int(row.argmax()) for row in solution.x.reshape(shape)]
    assert sum(sizes[i][c] for i, c in enumerate(chosen)) <= budget, (
        "the solver's tolerance let a plan through that is too large"
    )
    return chosen


def random_plan(sizes: Sequence[Sequence[int]], budget: int, seed: int) -> list[int]:
    """Choose a random candidate for each part within the budget.

    Parts start with their smallest candidate; all (part, candidate) pairs are then tried in random
    order. In the result no part alone could be larger.

    Args:
        sizes: [part][candidate], in bytes.
        budget: in bytes.
        seed: of the order.

    Returns:
        The number of the candidate for each part.

    Raises:
        OptionError: The budget is below the smallest plan.
    """
    _require_feasible(sizes, budget)
    chosen = [min(range(len(row)), key=row.__getitem__) for row in sizes]
    spent = sum(row[c] for row, c in zip(sizes, chosen, strict=True))
    pairs = [(part, candidate) for part, row in enumerate(sizes) for candidate in range(len(row))]
    random.Random(f"random-plan-{seed}").shuffle(pairs)
    for part, candidate in pairs:
        more = sizes[part][candidate] - sizes[part][chosen[part]]
        if more > 0 and spent + more <= budget:
            chosen[part], spent = candidate, spent + more
    return chosen


def _require_feasible(sizes: Sequence[Sequence[int]], budget: int) -> None:
    least = sum(map(min, sizes))
    if budget < least:
        raise OptionError(
            f"a budget of {budget} bytes is below the smallest plan, which needs {least}"
        )
