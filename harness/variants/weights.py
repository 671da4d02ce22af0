"""From a plan to quantized blocks: one source of weights for each kind of calibration inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from harness.config.schema import WorkersConfig
from harness.store import digest
from harness.store.bank import StoredBank
from harness.store.store import safe_name
from harness.variants.calibration_run import CalibrationRun, claim_all
from harness.variants.external.backend import External, run_worker
from luq.allocation.plan import Plan
from luq.calibration.capture import BlockCapture
from luq.decoder.blocks import BlockWeights, needs_calibration
from luq.pipelines.bank import Bank, quantize_block
from luq.pipelines.sequential import grafted_weights, sequential_weights
from luq.quantizers.registry import quantizer_identity
from luq.rounding.error_feedback import factor_names
from luq.types import LayerStats, Quantizer


class WeightSource(Protocol):
    """Where the quantized blocks of plans come from: looked up in the store's bank, or quantized
    and stored there.
    """

    def weights(self, plan: Plan) -> dict[int, BlockWeights]:
        """The blocks that the plan quantizes, by index.

        Raises:
            QuantizationError: A linear cannot be quantized; the message names it.
        """


def weight_source(
    run: CalibrationRun, inputs: str, workers: WorkersConfig | None = None
) -> WeightSource:
    """The source for the inputs that a block is calibrated on.

    Args:
        run: The model, its calibration and its store.
        inputs: `fp`, `graft` or `sequential`, see `harness.config.schema.MethodConfig`.
        workers: Where programs of other libraries are.
    """
    return SOURCES[inputs](run, workers)


class BankWeights:
    """Blocks calibrated on inputs of the full-precision model (`method.inputs=fp`): entries do not
    depend on the plan, so every k, order and budget is a recombination of the same ones.
    """

    def __init__(self, run: CalibrationRun, workers: WorkersConfig | None = None):
        """Use the bank of the run's store; see `weight_source`."""
        self.run, self.workers = run, workers
        self.bank = StoredBank(run.store, run.origin)

    def weights(self, plan: Plan) -> dict[int, BlockWeights]:
        """See `WeightSource`."""
        quantizers = set(plan.methods.values())
        fill_from_workers(self.run, quantizers, self.workers)
        wanted = {i: plan.methods[name] for i, name in enumerate(plan.blocks) if name != "none"}
        if all(self.bank.has(block, quantizer) for block, quantizer in wanted.items()):
            return self._bank_of(plan).plan_weights(plan)
        with _quantizing(self.run, quantizers):
            self._fill(quantizers)
            return self._bank_of(plan).plan_weights(plan)

    def fill(self, quantizers: Iterable[Quantizer]) -> None:
        """Quantize every block of a streamed model with every quantizer, in one pass over its
        blocks. Other models are quantized block by block as plans need them.
        """
        if self.run.loaded.streamed:
            wanted = list(dict.fromkeys(quantizers))
            with _quantizing(self.run, wanted):
                self._fill(wanted)

    def _fill(self, quantizers: Iterable[Quantizer]) -> None:
        """`fill`, inside a claim."""
        if not self.run.loaded.streamed:
            return
        count = len(self.run.loaded.blocks)
        wanted = [
            quantizer
            for quantizer in quantizers
            if needs_calibration(quantizer) and not isinstance(quantizer, External)
        ]
        missing = [(i, q) for i in range(count) for q in wanted if not self.bank.has(i, q)]
        if not missing:
            return
        for capture in self.run.captures(first=missing[0][0]):
            for quantizer in (q for i, q in missing if i == capture.index):
                self._quantize_captured(capture, quantizer)
            self.run.progress.blocks("quantizing blocks", capture.index + 1, count)
            del capture  # its Hessians make room for the next block's
        self.run.finish_pass()

    def _quantize_captured(self, capture: BlockCapture, quantizer: Quantizer) -> None:
        index, loaded = capture.index, self.run.loaded
        entry = quantize_block(
            loaded.blocks[index],
            loaded.family,
            quantizer,
            capture.stats[0],
            f"block {index}",
            capture.inputs,
        )
        self.bank.save(index, quantizer, entry)

    def _bank_of(self, plan: Plan) -> Bank:
        loaded, progress = self.run.loaded, self.run.progress
        entries = _Entries(self.run, self.bank, plan)
        return Bank(
            loaded.blocks,
            loaded.family,
            entries.stats,
            entries,
            self.run.captures,
            lambda done, total: progress.blocks("quantizing blocks", done, total),
        )


class _Entries:
    """Statistics and storage of a `luq` bank for one plan: factors of Hessians are loaded before a
    block is quantized, and stored with the block.
    """

    def __init__(self, run: CalibrationRun, bank: StoredBank, plan: Plan):
        self._run, self._bank, self._plan = run, bank, plan
        self._stats: dict[int, Mapping[str, LayerStats]] = {}

    def stats(self, block: int) -> Mapping[str, LayerStats]:
        quantizer = self._plan.methods[self._plan.blocks[block]]
        self._stats = {block: self._run.stats(block, factor_names(quantizer))}
        return self._stats[block]

    def load(self, block: int, quantizer: Quantizer) -> BlockWeights | None:
        return self._bank.load(block, quantizer)

    def save(self, block: int, quantizer: Quantizer, weights: BlockWeights) -> None:
        self._bank.save(block, quantizer, weights)
        if block in self._stats:
            self._run.save_factors(block, self._stats.pop(block))


class _WeightsBehindBlocks:
    """Blocks calibrated behind blocks that are quantized already, as `quantize` has it."""

    quantize: ClassVar[Callable[..., dict[int, BlockWeights]]]

    def __init__(self, run: CalibrationRun, workers: WorkersConfig | None = None):
        """Use the bank of the run's store; see `weight_source`."""
        self.run, self.workers = run, workers

    def weights(self, plan: Plan) -> dict[int, BlockWeights]:
        """See `WeightSource`."""
        run = self.run
        fill_from_workers(run, plan.methods.values(), self.workers)
        with _quantizing(run, plan.methods.values()):
            return self.quantize(
                run.loaded.model,
                run.loaded.family,
                plan,
                lambda: run.data.sequences,
                StoredBank(run.store, run.origin),
            )


class GraftedWeights(_WeightsBehindBlocks):
    """Blocks calibrated behind blocks quantized by their own method (`method.inputs=graft`): taken
    from one whole-model run of each method.
    """

    quantize = staticmethod(grafted_weights)


class SequentialWeights(_WeightsBehindBlocks):
    """Blocks calibrated behind the quantized blocks of the same plan (`method.inputs=sequential`;
    LUQ, equation 7): plans share the entries of a common prefix.
    """

    quantize = staticmethod(sequential_weights)


def fill_from_workers(
    run: CalibrationRun, quantizers: Iterable[Quantizer], workers: WorkersConfig | None
) -> None:
    """Store every block of the whole models that other libraries quantize, unless it is stored.

    Args:
        run: The model, its calibration and its store.
        quantizers: Of which only those of type `External` need a worker.
        workers: Where the workers' environments are and how long a worker may take.

    Raises:
        QuantizationError: A worker failed; the message has the last lines of its log.
    """
    settings = workers or WorkersConfig()
    for quantizer in dict.fromkeys(q for q in quantizers if isinstance(q, External)):
        with _quantizing(run, [quantizer]):
            _fill_from_worker(run, quantizer, settings)


def _fill_from_worker(run: CalibrationRun, quantizer: External, workers: WorkersConfig) -> None:
    bank, count = StoredBank(run.store, run.origin), len(run.loaded.blocks)
    if all(bank.load(block, quantizer) is not None for block in range(count)):
        return
    log = f"worker-{safe_name(quantizer.title)}-{bank.key(0, quantizer)}.log"
    made = run_worker(
        quantizer,
        run.loaded,
        run.data.sequences,
        environments=Path(workers.folder),
        timeout=workers.timeout,
        log=run.store.root / "logs" / log,
    )
    for block, weights in made.items():
        bank.save(block, quantizer, weights)


def _quantizing(
    run: CalibrationRun, quantizers: Iterable[Quantizer]
) -> contextlib.AbstractContextManager[None]:
    """Claim these quantizers: another process that uses them would do the same work."""
    keys = [digest.of_value([run.origin, quantizer_identity(q)]) for q in quantizers]
    return claim_all(run.store, "bank", keys)


SOURCES: Mapping[str, Callable[[CalibrationRun, WorkersConfig | None], WeightSource]] = {
    "fp": BankWeights,
    "graft": GraftedWeights,
    "sequential": SequentialWeights,
}
