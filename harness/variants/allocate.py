"""`method=allocated`: for every block, or every linear, the quantizer that loses least within a
budget of stored bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.config.schema import MethodConfig
from harness.errors import ConfigError
from harness.variants.block_scores import damage_samples, linear_damages
from harness.variants.calibration_run import CalibrationRun
from harness.variants.weights import BankWeights, WeightSource
from luq.allocation.knapsack import least_score, random_plan
from luq.allocation.plan import Plan
from luq.decoder.blocks import BlockWeights
from luq.types import Quantizer, stored_bytes

Assignment = list[dict[str, int]]
"""[block][linear]: index of the candidate."""


@dataclass(frozen=True)
class _Unit:
    """Linears that get one quantizer: all of a block, or one. scores, sizes: by candidate, in nats
    and bytes.
    """

    block: int
    linears: tuple[str, ...]
    scores: list[float]
    sizes: list[int]


def allocate(
    run: CalibrationRun, bank: BankWeights, method: MethodConfig, candidates: list[Quantizer]
) -> Assignment:
    """Choose a candidate for every unit, so that the summed score is least within the budget.

    Args:
        run: The model and its calibration.
        bank: Where blocks quantized with the candidates come from.
        method: Names the budget, the score and the unit.
        candidates: The quantizers to choose from.

    Raises:
        ConfigError: No plan is within `method.budget_bits`.
    """
    bank.fill(candidates)
    entries = [bank.weights(_uniform(candidate, run)) for candidate in candidates]
    units = _units(run, bank, method, candidates, entries)
    chosen = _choose(units, method, _count_weights(entries[0]))
    assignment: Assignment = [{} for _ in run.loaded.blocks]
    for unit, candidate in zip(units, chosen, strict=True):
        assignment[unit.block] |= dict.fromkeys(unit.linears, candidate)
    return assignment


def _choose(units: list[_Unit], method: MethodConfig, weights: int) -> list[int]:
    """The candidate of every unit. weights: in all blocks."""
    assert method.budget_bits is not None, "the configuration was checked"
    budget, sizes = int(method.budget_bits * weights / 8), [unit.sizes for unit in units]
    try:
        if method.score == "random":
            return random_plan(sizes, budget, method.order_seed)
        return least_score([unit.scores for unit in units], sizes, budget)
    except ValueError as error:
        least, most = (8 * sum(map(pick, sizes)) / weights for pick in (min, max))
        raise ConfigError(
            f"method.budget_bits={method.budget_bits}: {error}. The candidates allow {least:.3f} to"
            f" {most:.3f} stored bits per weight"
        ) from error


def allocated_weights(
    source: WeightSource, assignment: Assignment, candidates: list[Quantizer], inputs: str
) -> dict[int, BlockWeights]:
    """The blocks of an assignment; one that mixes quantizers is put together linear by linear.

    Args:
        source: Where blocks come from.
        assignment: What `allocate` chose.
        candidates: The quantizers it chose from.
        inputs: `method.inputs`, which `source` is for.

    Raises:
        ConfigError: A block mixes quantizers, and `inputs` is not `fp`.
    """
    methods = {str(i): candidate for i, candidate in enumerate(candidates)}
    if all(len(set(block.values())) == 1 for block in assignment):
        names = tuple(str(next(iter(block.values()))) for block in assignment)
        return source.weights(Plan(names, {name: methods[name] for name in sorted(set(names))}))
    if inputs != "fp":
        raise ConfigError(
            "method.unit=linear mixes entries of the bank, so it needs method.inputs=fp; it is"
            f" {inputs}"
        )
    entries = [
        source.weights(Plan((name,) * len(assignment), {name: candidate}))
        for name, candidate in methods.items()
    ]
    return {
        i: BlockWeights(
            {name: entries[candidate][i].linears[name] for name, candidate in block.items()}
        )
        for i, block in enumerate(assignment)
    }


def _uniform(quantizer: Quantizer, run: CalibrationRun) -> Plan:
    return Plan(("all",) * len(run.loaded.blocks), {"all": quantizer})


def _count_weights(entries: Mapping[int, BlockWeights]) -> int:
    shapes = (w.shape for entry in entries.values() for w in entry.linears.values())
    return sum(out * inner for out, inner in shapes)


def _units(
    run: CalibrationRun,
    bank: BankWeights,
    method: MethodConfig,
    candidates: list[Quantizer],
    entries: list[dict[int, BlockWeights]],
) -> list[_Unit]:
    scores = [_scores(run, bank, candidate, method) for candidate in candidates]
    units = []
    for block in range(len(run.loaded.blocks)):
        for linears in _linears_of_units(run, method):
            sizes = [
                sum(stored_bytes(entry[block].linears[name]) for name in linears)
                for entry in entries
            ]
            units.append(_Unit(block, linears, [by[block][linears] for by in scores], sizes))
    return units


def _linears_of_units(run: CalibrationRun, method: MethodConfig) -> list[tuple[str, ...]]:
    names = run.loaded.family.linears
    return [(name,) for name in names] if method.unit == "linear" else [names]


def _scores(
    run: CalibrationRun, bank: BankWeights, candidate: Quantizer, method: MethodConfig
) -> list[Mapping[tuple[str, ...], float]]:
    """[block][linears of a unit]: the score, a mean over the held-out answers; random plans have
    none, and nothing is measured for them.
    """
    if method.score == "random":
        nothing = dict.fromkeys(_linears_of_units(run, method), 0.0)
        return [nothing for _ in run.loaded.blocks]
    if method.unit == "linear":
        return [
            {(name,): value for name, value in block.items()}
            for block in linear_damages(run, bank, candidate, method.score)
        ]
    means = damage_samples(run, bank, candidate, method.score).mean(dim=1).tolist()
    return [{run.loaded.family.linears: value} for value in means]
