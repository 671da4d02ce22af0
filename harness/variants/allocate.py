"""`method=allocated`: for every block, or every linear, the quantizer that loses least within a
budget of packed bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.config.schema import MethodConfig
from harness.errors import ConfigError
from harness.variants.block_scores import damage_samples, linear_damages
from luq.allocation.knapsack import least_score, random_plan
from luq.decoder.blocks import BlockWeights
from luq.types import Plan, Quantizer, stored_bytes

if TYPE_CHECKING:
    from harness.variants.calibration_run import Workbench

Assignment = list[dict[str, int]]


@dataclass(frozen=True)
class _Unit:
    """What gets one quantizer: all linears of a block, or one. scores, sizes: by candidate, in nats
    and bytes.
    """

    block: int
    linears: tuple[str, ...]
    scores: list[float]
    sizes: list[int]


def allocate(bench: Workbench, method: MethodConfig, candidates: list[Quantizer]) -> Assignment:
    """[block][linear] -> number of the candidate.

    Raises ConfigError for a budget that no plan can be within.
    """
    wholes = [
        Plan((str(i),) * len(bench.loaded.blocks), {str(i): candidate})
        for i, candidate in enumerate(candidates)
    ]
    entries = [bench.weights(plan, "fp") for plan in wholes]
    units = _units(bench, method, candidates, entries)
    weights = sum(
        w.shape[0] * w.shape[1] for block in entries[0].values() for w in block.linears.values()
    )
    assert method.budget_bits is not None, "the configuration was checked"
    budget = int(method.budget_bits * weights / 8)
    sizes = [unit.sizes for unit in units]
    try:
        chosen = (
            random_plan(sizes, budget, method.order_seed)
            if method.score == "random"
            else least_score([unit.scores for unit in units], sizes, budget)
        )
    except ValueError as error:
        least, most = (8 * sum(pick(row) for row in sizes) / weights for pick in (min, max))
        raise ConfigError(
            f"method.budget_bits={method.budget_bits}: {error}. The candidates allow {least:.3f} to"
            f" {most:.3f} stored bits per weight"
        ) from error
    assignment: Assignment = [{} for _ in bench.loaded.blocks]
    for unit, candidate in zip(units, chosen, strict=True):
        assignment[unit.block] |= dict.fromkeys(unit.linears, candidate)
    return assignment


def allocated_weights(
    bench: Workbench, assignment: Assignment, candidates: list[Quantizer], inputs: str
) -> dict[int, BlockWeights]:
    """The blocks of an assignment.

    One that mixes quantizers inside a block is put together from the bank.
    """
    names = tuple(str(next(iter(block.values()))) for block in assignment)
    methods = {str(i): candidate for i, candidate in enumerate(candidates)}
    if all(len(set(block.values())) == 1 for block in assignment):
        return bench.weights(
            Plan(names, {name: methods[name] for name in sorted(set(names))}), inputs
        )
    if inputs != "fp":
        raise ConfigError(
            "method.unit=linear mixes entries of the bank, so it needs method.inputs=fp; it is"
            f" {inputs}"
        )
    whole = {
        name: bench.weights(Plan((name,) * len(assignment), {name: methods[name]}), "fp")
        for name in methods
    }
    return {
        i: BlockWeights(
            {
                linear: whole[str(candidate)][i].linears[linear]
                for linear, candidate in block.items()
            }
        )
        for i, block in enumerate(assignment)
    }


def _units(
    bench: Workbench,
    method: MethodConfig,
    candidates: list[Quantizer],
    entries: list[dict[int, BlockWeights]],
) -> list[_Unit]:
    by_linear = method.unit == "linear"
    damages = [_damages(bench, candidate, method) for candidate in candidates]
    units = []
    for block in range(len(bench.loaded.blocks)):
        names = bench.loaded.family.linears
        for linears in [(name,) for name in names] if by_linear else [names]:
            sizes = [
                sum(stored_bytes(entry[block].linears[name]) for name in linears)
                for entry in entries
            ]
            units.append(
                _Unit(block, linears, [damage[block][linears] for damage in damages], sizes)
            )
    return units


def _damages(
    bench: Workbench, candidate: Quantizer, method: MethodConfig
) -> list[Mapping[tuple[str, ...], float]]:
    """[block][linears of a unit]: the score, a mean over the held-out answers; nothing is measured
    for random plans.
    """
    names = bench.loaded.family.linears
    if method.score == "random":
        units = [(name,) for name in names] if method.unit == "linear" else [names]
        return [dict.fromkeys(units, 0.0) for _ in bench.loaded.blocks]
    if method.unit == "linear":
        return [
            {(name,): value for name, value in block.items()}
            for block in linear_damages(bench, candidate, method.score)
        ]
    return [
        {names: value}
        for value in damage_samples(bench, candidate, method.score).mean(dim=1).tolist()
    ]
