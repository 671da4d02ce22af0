"""Which quantizer each part of a model gets when bytes are limited: the least summed score, or a
random plan to compare with.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp


def least_score(
    scores: Sequence[Sequence[float]], sizes: Sequence[Sequence[int]], budget: int
) -> list[int]:
    """For each part the candidate such that the summed score is least and the sizes add up to the
    budget at most (a multiple-choice knapsack, solved exactly as an integer program; it takes for
    granted that the scores of parts add up).

    scores, sizes: [part][candidate]; sizes and budget in bytes. Raises ValueError for a budget
    below the smallest plan.
    """
    _require_feasible(sizes, budget)
    shape = (len(scores), len(scores[0]))
    each_once = np.kron(np.eye(shape[0]), np.ones(shape[1]))
    unit = math.gcd(
        *np.ravel(sizes).tolist()
    )  # small whole numbers: the solver's tolerance is then below any real difference
    limits = [
        LinearConstraint(each_once, 1, 1),
        LinearConstraint(np.ravel(sizes)[None] / unit, -np.inf, budget // unit),
    ]
    cost = np.ravel(scores).astype(float)
    cost /= np.abs(cost).max() or 1
    found = milp(
        cost,
        constraints=limits,
        integrality=np.ones(cost.size),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    if found.x is None:
        raise ValueError(f"the solver found no plan within {budget} bytes: {found.message}")
    chosen = [int(row.argmax()) for row in found.x.reshape(shape)]
    assert sum(sizes[i][c] for i, c in enumerate(chosen)) <= budget, (
        "the solver's tolerance let a plan through that is too large"
    )
    return chosen


def random_plan(sizes: Sequence[Sequence[int]], budget: int, seed: int) -> list[int]:
    """A random candidate for each part within the budget, such that no part alone could still be
    larger.

    Parts start with their smallest candidate; all (part, candidate) pairs are then tried in random
    order. Raises ValueError for a budget below the smallest plan.
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
        raise ValueError(
            f"a budget of {budget} bytes is below the smallest plan, which needs {least}"
        )
