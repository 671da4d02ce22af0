"""Model + calibration + plan -> a quantized model, through the bank."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loguru import logger

from harness.config.schema import CalibrationConfig, EntropyConfig, MethodConfig, WorkersConfig
from harness.data.sequences import (
    CalibrationData,
    Part,
    calibration_digest,
    collect,
    part_digest,
    parts,
)
from harness.errors import ConfigError
from harness.models.load import LoadedModel
from harness.progress import SILENT, Progress
from harness.store import digest
from harness.store.bank import StoredBank, load_stats, save_stats, sum_stats
from harness.store.states import StoredStates
from harness.store.store import Store, safe_name
from harness.variants.allocate import allocate, allocated_weights
from harness.variants.block_entropy import mean_entropies
from harness.variants.block_scores import measures
from harness.variants.external.backend import External, run_worker
from luq.allocation.orders import block_order
from luq.allocation.plan import ranked_prefix
from luq.allocation.scores import layer_error
from luq.calibration.capture import BlockCapture, capture_blocks
from luq.decoder.blocks import BlockWeights, needs_calibration
from luq.pipelines.bank import Bank, quantize_block
from luq.pipelines.sequential import grafted_weights, sequential_weights
from luq.quantizers.registry import build_quantizer, describe_quantizer
from luq.types import LayerStats, Plan, Quantizer, stored_bytes
from reports.records.results import Block


@dataclass(frozen=True)
class Variant:
    """Quantized blocks and what they cost.

    kept: how each block's linears are kept. digest: of the model and the packed weights, so that
    equal variants of different names agree. paper_bits, stored_bits: per weight of the decoder's
    linears; stored_bytes: of the same linears, full-precision blocks at 16 bits.
    """

    weights: Mapping[int, BlockWeights]
    order: tuple[int, ...]
    digest: str
    paper_bits: float
    stored_bits: float
    stored_bytes: int
    events: tuple[str, ...]
    kept: tuple[KeptBlock, ...]


@dataclass(frozen=True)
class KeptBlock:
    """method: the quantizer, or those of its linears. paper_bits, stored_bits: per weight. content:
    digest of what is stored, "" where nothing is.
    """

    method: str
    paper_bits: float
    stored_bits: float
    content: str


class Workbench:
    """One model, one calibration, one store: statistics and bank entries, each made once."""

    def __init__(
        self,
        loaded: LoadedModel,
        calibration: CalibrationConfig,
        entropy: EntropyConfig,
        store: Store,
        workers: WorkersConfig | None = None,
        progress: Progress = SILENT,
    ):
        self.progress = progress
        self.loaded, self.calibration, self.entropy_config, self.store = (
            loaded,
            calibration,
            entropy,
            store,
        )
        self.workers = workers or WorkersConfig()
        self.origin = calibration_digest(loaded, calibration)
        self._parts = parts(calibration)
        self.entries = StoredBank(store, self.origin)
        self.bank = Bank(
            loaded.blocks,
            loaded.family,
            self.stats,
            self.entries,
            self.captures,
            lambda done, total: self.progress.blocks("quantizing blocks", done, total),
        )

    def each_stats(self) -> Iterator[tuple[int, Mapping[str, LayerStats]]]:
        """(block, its statistics), block by block.

        A streamed model's are not kept: they fill a disk many times the model's size.
        """
        if self.loaded.streamed:
            yield from ((capture.index, capture.stats[0]) for capture in self.captures())
            self.finish_pass()
        else:
            yield from ((block, self.stats(block)) for block in range(len(self.loaded.blocks)))

    def stats(self, block: int) -> Mapping[str, LayerStats]:
        """From full-precision inputs.

        The parts that are missing in the store, of any block, are captured first.
        """
        key = digest.of_value([self.origin, "block", block])
        if (found := self._sum_of_parts(block, key)) is None:
            with self._alone("stats", [self._part_key(part, 0) for part in self._parts]):
                if missing := [part for part in self._parts if not self._has_part(part)]:
                    self._capture_parts(missing)
            found = self._sum_of_parts(block, key)
        assert found is not None, "statistics were just written"
        return found

    @contextlib.contextmanager
    def _alone(self, kind: str, keys: Iterable[str]) -> Iterator[None]:
        """While no other process makes any of these.

        In a fixed order, so that no two wait for each other.
        """
        with contextlib.ExitStack() as stack:
            for key in sorted(set(keys)):
                stack.enter_context(self.store.claimed(kind, key))
            yield

    def _quantizing(
        self, quantizers: Iterable[Quantizer]
    ) -> contextlib.AbstractContextManager[None]:
        """While no other process quantizes with any of these: it would do the same work."""
        return self._alone(
            "bank", [digest.of_value([self.origin, describe_quantizer(q)]) for q in quantizers]
        )

    def _sum_of_parts(self, block: int, key: str) -> dict[str, LayerStats] | None:
        found = [load_stats(self.store, self._part_key(part, block)) for part in self._parts]
        complete = [part for part in found if part is not None]
        return sum_stats(self.store, key, complete) if len(complete) == len(found) else None

    def _part_key(self, part: Part, block: int) -> str:
        return digest.of_value([part_digest(self.loaded, self.calibration, part), "block", block])

    def _has_part(self, part: Part) -> bool:
        return all(
            self.store.has("stats", self._part_key(part, block))
            for block in range(len(self.loaded.blocks))
        )

    def _capture_parts(self, missing: list[Part]) -> None:
        data = self._collect(missing)
        for capture in capture_blocks(
            self.loaded.model, self.loaded.family, list(data.parts.values())
        ):
            self._keep_stats(missing, capture)
            self.progress.blocks("calibrating blocks", capture.index + 1, len(self.loaded.blocks))

    def _keep_stats(self, captured: list[Part], capture: BlockCapture) -> None:
        for part, stats in zip(captured, capture.stats, strict=True):
            key = self._part_key(part, capture.index)
            if not self.store.has("stats", key):
                save_stats(self.store, key, stats)

    def _collect(self, only: list[Part] | None = None) -> CalibrationData:
        data = collect(self.loaded, self.calibration, only)
        logger.info(
            f"calibration: {data.tokens} tokens in {len(data.sequences)} sequences,"
            f" {data.image_text_tokens} of image-text samples, {data.image_token_share:.1%} image"
            " tokens"
        )
        for part, pictures in data.pictures.items():
            self.store.kept(
                "calibration_pictures", self._pictures_key(part), lambda pictures=pictures: pictures
            )  # type: ignore[misc]
        return data

    def calibration_pictures(self) -> frozenset[str]:
        """Digests of the pictures that the calibration looks at."""
        found: list[str] = []
        for part in self._parts:
            if part.source == "image_text":
                if self.store.read_value("calibration_pictures", self._pictures_key(part)) is None:
                    self._collect([part])
                found += (
                    self.store.read_value("calibration_pictures", self._pictures_key(part)) or []
                )
        return frozenset(found)

    def _pictures_key(self, part: Part) -> str:
        return digest.of_value([part_digest(self.loaded, self.calibration, part), "pictures"])

    @cached_property
    def data(self) -> CalibrationData:
        return self._collect()

    def captures(self, first: int = 0) -> Iterator[BlockCapture]:
        """One pass over `data`, from block `first` on; statistics that are missing in the store are
        stored on the way. A streamed model's residual streams rest in the CPU's memory and, from
        block to block, in the store: a pass that was killed goes on where it was.
        """
        model, family = self.loaded.model, self.loaded.family
        if self.loaded.streamed:
            yield from capture_blocks(
                model, family, [self.data.sequences], storage=self._states(), first=first, host=True
            )
            return
        for capture in capture_blocks(model, family, list(self.data.parts.values()), first=first):
            self._keep_stats(self._parts, capture)
            yield capture

    def finish_pass(self) -> None:
        """Everything that a pass was for is kept: its residual streams may go."""
        if self.loaded.streamed:
            self._states().discard()

    def _states(self) -> StoredStates:
        return StoredStates(self.store, self.origin, len(self.loaded.blocks))

    def _fill(self, quantizers: Iterable[Quantizer]) -> None:
        """A streamed model's entries of every block for all of these quantizers, in one pass: every
        k and order is made of them.
        """
        wanted = [
            q
            for q in dict.fromkeys(quantizers)
            if needs_calibration(q) and not isinstance(q, External)
        ]
        missing = [
            (i, q)
            for i in range(len(self.loaded.blocks))
            for q in wanted
            if not self.entries.has(i, q)
        ]
        if not missing:
            return
        for capture in self.captures(first=missing[0][0]):
            for quantizer in (q for i, q in missing if i == capture.index):
                block, label = self.loaded.blocks[capture.index], f"block {capture.index}"
                made = quantize_block(
                    block, self.loaded.family, quantizer, capture.stats[0], label, capture.inputs
                )
                self.entries.save(capture.index, quantizer, made)
            self.progress.blocks("quantizing blocks", capture.index + 1, len(self.loaded.blocks))
            del capture  # its Hessians make room for the next block's
        self.finish_pass()

    def variant(self, method: MethodConfig) -> Variant:
        """Quantize what is missing and put the plan's blocks together.

        Raises ConfigError for a method or k that cannot be.
        """
        if (method.low or method.high or method.candidates) and self.loaded.packed:
            raise ConfigError(
                f"{self.loaded.name} is packed already: evaluate it with method=fp, or quantize the"
                " model it came from"
            )
        if method.candidates:
            candidates = [
                q
                for i, options in enumerate(method.candidates)
                if (q := build(options, f"method.candidates[{i}]"))
            ]
            self._ask_workers(candidates)
            assignment = allocate(self, method, candidates)
            order = tuple(range(len(self.loaded.blocks)))
            names = [quantizer_name(options) for options in method.candidates if options]
            chosen = [
                " and ".join(sorted({names[number] for number in block.values()}))
                for block in assignment
            ]
            return _measured(
                self.loaded,
                allocated_weights(self, assignment, candidates, method.inputs),
                order,
                chosen,
            )
        count = len(self.loaded.blocks)
        if not isinstance(method.k, int) or not 0 <= method.k <= count:
            raise ConfigError(
                f"method.k is {method.k}, {self.loaded.name} has {count} decoder blocks: choose 0"
                f" to {count}"
            )
        if method.k > 0 and not method.low:
            raise ConfigError(
                f"method.k is {method.k}, but {method.name} has no low method; set method.low or"
                " method.k=0"
            )
        low, high = build(method.low, "method.low"), build(method.high, "method.high")
        if self.loaded.streamed and method.inputs == "fp":
            wanted = [quantizer for quantizer in (low, high) if quantizer is not None]
            with self._quantizing(wanted):
                self._fill(wanted)
        order = tuple(range(count))
        if 0 < method.k < count:
            order = block_order(method.order, count, measures(self, low), seed=method.order_seed)
        plan = ranked_prefix(order, method.k, low, high)
        self._ask_workers(plan.methods.values())
        words = {
            "low": quantizer_name(method.low),
            "high": quantizer_name(method.high),
            "none": "none",
        }
        return _measured(
            self.loaded,
            self.weights(plan, method.inputs),
            order,
            [words[name] for name in plan.blocks],
        )

    def described(self, variant: Variant, method: MethodConfig) -> list[Block]:
        """Every block of a variant, with what making it measured, whatever else is in the store:
        errors where statistics were gathered, entropies where they chose its blocks.
        """
        quantizers = [
            q for q in _quantizers(method) if needs_calibration(q) and not isinstance(q, External)
        ]
        known = bool(quantizers) and method.inputs == "fp" and not self.loaded.streamed
        chosen = (
            isinstance(method.k, int)
            and 0 < method.k < len(variant.kept)
            and method.order.startswith("entropy")
        )
        entropies: Sequence[float | None] = (
            mean_entropies(self) if chosen else [None] * len(variant.kept)
        )
        return [
            Block(
                kept=kept.method,
                paper_bits=kept.paper_bits,
                stored_bits=kept.stored_bits,
                entropy=entropy,
                output_error=(
                    self._output_error(index, variant.weights[index], kept.content)
                    if known and kept.content
                    else None
                ),
            )
            for index, (kept, entropy) in enumerate(zip(variant.kept, entropies, strict=True))
        ]

    def _output_error(self, index: int, weights: BlockWeights, content: str) -> float | None:
        if weights.changed:  # its linears see other inputs than those that were measured
            return None
        block, family = self.loaded.blocks[index], self.loaded.family
        key = digest.of_value([self.origin, index, content])
        return float(
            self.store.kept(
                "block_errors", key, lambda: layer_error(block, family, weights, self.stats(index))
            )
        )

    def weights(self, plan: Plan, inputs: str) -> dict[int, BlockWeights]:
        """The plan's blocks, each calibrated on the inputs that `inputs` names (see schema.INPUTS)."""
        wanted = [
            (block, plan.methods[name]) for block, name in enumerate(plan.blocks) if name != "none"
        ]
        if inputs == "fp" and all(
            self.entries.has(block, quantizer) for block, quantizer in wanted
        ):
            return self.bank.plan_weights(plan)
        with self._quantizing(plan.methods.values()):
            if inputs == "fp":
                if self.loaded.streamed:
                    self._fill(plan.methods.values())
                return self.bank.plan_weights(plan)
            make = grafted_weights if inputs == "graft" else sequential_weights
            return make(
                self.loaded.model,
                self.loaded.family,
                plan,
                lambda: self.data.sequences,
                self.entries,
            )

    def _ask_workers(self, quantizers: Iterable[Quantizer]) -> None:
        for quantizer in {q for q in quantizers if isinstance(q, External)}:
            with self._quantizing([quantizer]):
                self._ask_worker(quantizer)

    def _ask_worker(self, quantizer: External) -> None:
        """Fill the bank with what another library makes of the whole model, unless it is there."""
        if all(
            self.entries.load(block, quantizer) is not None
            for block in range(len(self.loaded.blocks))
        ):
            return
        key = self.entries.key(0, quantizer)
        made = run_worker(
            quantizer,
            self.loaded,
            self.data.sequences,
            environments=Path(self.workers.folder),
            timeout=self.workers.timeout,
            log=self.store.root / "logs" / f"worker-{safe_name(quantizer.title)}-{key}.log",
        )
        for block, weights in made.items():
            self.entries.save(block, quantizer, weights)


def calibrated(method: MethodConfig) -> bool:
    """Whether calibration data had a say in the variant: in its weights or in the choice of its
    blocks.
    """
    return bool(method.low or method.candidates) or any(map(needs_calibration, _quantizers(method)))


def _quantizers(method: MethodConfig) -> list[Quantizer]:
    """All that a method names. Raises ConfigError."""
    options = (method.low, method.high, *method.candidates)
    return [quantizer for one in options if (quantizer := build(one, "method")) is not None]


def build(options: Mapping[str, object] | None, key: str) -> Quantizer | None:
    """The quantizer of a configuration. Raises ConfigError that names the key."""
    if not options:
        return None
    fields = dict(options)
    method = fields.pop("method", None)
    if not isinstance(method, str):
        raise ConfigError(
            f"{key} needs a `method`, for instance {{method: gptq, bits: 4}}; it has"
            f" {sorted(fields)}"
        )
    try:
        return build_quantizer(method, fields)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}: {error}") from error


def quantizer_name(options: Mapping[str, object] | None) -> str:
    """A quantizer in a word or two: the method, with its bits or variant."""
    if not options:
        return "none"
    detail = options.get("bits", options.get("variant", options.get("perturbation", "")))
    return f"{options.get('worker') or options['method']}{'-' if detail != '' else ''}{detail}"


def _measured(
    loaded: LoadedModel,
    weights: Mapping[int, BlockWeights],
    order: tuple[int, ...],
    methods: Sequence[str],
) -> Variant:
    """methods: of each block, in words."""
    content = {index: digest.of_block(entry) for index, entry in sorted(weights.items())}
    identity = digest.of_value(
        {
            "model": loaded.digest,
            "dtype": loaded.dtype,
            "blocks": {str(i): one for i, one in content.items()},
        }
    )
    known = {**loaded.packed, **weights}
    kept, events, sizes = [], [], []
    for index, block in enumerate(loaded.blocks):
        paper, size, count = 0.0, 0, 0
        for name in loaded.family.linears:
            linear: Any = block.get_submodule(name)
            numel = linear.out_features * linear.in_features
            packed = known[index].linears[name] if index in known else None
            count += numel
            paper += numel * (16.0 if packed is None else packed.paper_bits)
            size += numel * 2 if packed is None else stored_bytes(packed)
            events += [
                f"block {index} {name}: {event.kind} {event.detail}"
                for event in (packed.events if packed else ())
            ]
        formats = (
            sorted({packed.format for packed in loaded.packed[index].linears.values()})
            if index in loaded.packed
            else []
        )
        kept.append(
            KeptBlock(
                "+".join(formats) or methods[index],
                paper / count,
                8 * size / count,
                content.get(index, ""),
            )
        )
        sizes.append((paper, size, count))
    paper, size, count = map(sum, zip(*sizes, strict=True))
    return Variant(
        weights, order, identity, paper / count, 8 * size / count, size, tuple(events), tuple(kept)
    )
