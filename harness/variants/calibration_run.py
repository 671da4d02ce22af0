"""One model on one calibration: its sequences, its captures and the statistics of its blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from loguru import logger

from harness.config.schema import CalibrationConfig, Config
from harness.data.sequences import (
    CalibrationData,
    Part,
    calibration_digest,
    collect,
    part_digest,
    parts,
)
from harness.models.load import LoadedModel, load_model
from harness.progress import SILENT, Progress
from harness.store import digest
from harness.store.factors import (
    load_factors,
    load_stats,
    save_factors,
    save_stats,
    sum_stats,
)
from harness.store.states import StoredStates
from harness.store.store import Store
from luq.calibration.capture import BlockCapture, capture_blocks
from luq.types import LayerStats


class CalibrationRun:
    """Data, captures and statistics of one model and one calibration, each made once in one store.

    Attributes:
        loaded: The model.
        calibration: How its calibration data is drawn.
        store: Where statistics are stored.
        progress: Where passes over the calibration data report to.
        origin: Digest of the model and the calibration, `MODEL/CALIBRATION`; every key of an entry
            that depends on them holds it.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        calibration: CalibrationConfig,
        store: Store,
        progress: Progress = SILENT,
    ):
        self.loaded, self.calibration, self.store = loaded, calibration, store
        self.progress = progress
        self.origin = calibration_digest(loaded, calibration)
        self._parts = parts(calibration)

    @cached_property
    def data(self) -> CalibrationData:
        """The calibration sequences."""
        return self._collect(self._parts)

    def calibration_pictures(self) -> frozenset[str]:
        """Digests of the pictures in the calibration data."""
        pictures: list[str] = []
        for part in self._parts:
            if part.source == "image_text":
                key = self._pictures_key(part)
                if self.store.load_value("calibration_pictures", key) is None:
                    self._collect([part])
                pictures += self.store.load_value("calibration_pictures", key) or []
        return frozenset(pictures)

    def stats(self, block: int, factors: Iterable[str] = ()) -> Mapping[str, LayerStats]:
        """Statistics of a block's linears, by name, from full-precision inputs.

        Parts of the calibration that are missing in the store, of any block, are captured first.

        Args:
            block: Index of the block.
            factors: Names of factors to load with the statistics, where the store has them.
        """
        stats = self._stored_stats(block)
        if stats is None:
            keys = [self._part_key(part, 0) for part in self._parts]
            with claim_all(self.store, "stats", keys):
                missing = [part for part in self._parts if not self._is_stored(part)]
                if missing:
                    self._capture_parts(missing)
            stats = self._stored_stats(block)
        assert stats is not None, "the statistics were just written"
        load_factors(self.store, self._factors_key(block), stats, factors)
        return stats

    def save_factors(self, block: int, stats: Mapping[str, LayerStats]) -> None:
        """Store the factors that a quantizer has added to statistics which `stats` returned."""
        save_factors(self.store, self._factors_key(block), stats)

    def each_stats(self) -> Iterator[tuple[int, Mapping[str, LayerStats]]]:
        """(block, its statistics), block by block.

        Those of a streamed model are not stored: they would fill many times the model's size.
        """
        if self.loaded.streamed:
            yield from ((capture.index, capture.stats[0]) for capture in self.captures())
            self.finish_pass()
        else:
            yield from ((block, self.stats(block)) for block in range(len(self.loaded.blocks)))

    def captures(self, first: int = 0) -> Iterator[BlockCapture]:
        """Capture every block in one pass over `data`.

        Statistics that are missing in the store are stored on the way, but for a streamed model.
        The residual streams of a streamed model lie in host memory and, between two blocks, in the
        store, where a pass that was killed resumes; call `finish_pass` at its end.

        Args:
            first: Index of the first block to capture.
        """
        model, family = self.loaded.model, self.loaded.family
        groups = list(self.data.parts.values())
        if self.loaded.streamed:
            storage = self._states()
            yield from capture_blocks(
                model, family, groups, storage=storage, first=first, host=True, together=True
            )
            return
        for capture in capture_blocks(model, family, groups, first=first):
            self._save_stats(self._parts, capture)
            yield capture

    def finish_pass(self) -> None:
        """Discard the residual streams of a pass whose results are all stored."""
        if self.loaded.streamed:
            self._states().discard()

    def _states(self) -> StoredStates:
        return StoredStates(self.store, self.origin, len(self.loaded.blocks))

    def _stored_stats(self, block: int) -> dict[str, LayerStats] | None:
        stored = [load_stats(self.store, self._part_key(part, block)) for part in self._parts]
        complete = [stats for stats in stored if stats is not None]
        return sum_stats(complete) if len(complete) == len(stored) else None

    def _is_stored(self, part: Part) -> bool:
        return all(
            self.store.has("stats", self._part_key(part, block))
            for block in range(len(self.loaded.blocks))
        )

    def _capture_parts(self, missing: list[Part]) -> None:
        data, total = self._collect(missing), len(self.loaded.blocks)
        groups = list(data.parts.values())
        for capture in capture_blocks(self.loaded.model, self.loaded.family, groups):
            self._save_stats(missing, capture)
            self.progress.blocks("calibrating blocks", capture.index + 1, total)

    def _save_stats(self, captured: list[Part], capture: BlockCapture) -> None:
        for part, stats in zip(captured, capture.stats, strict=True):
            key = self._part_key(part, capture.index)
            if not self.store.has("stats", key):
                save_stats(self.store, key, stats)

    def _collect(self, wanted: list[Part]) -> CalibrationData:
        data = collect(self.loaded, self.calibration, wanted)
        logger.info(
            f"calibration: {data.tokens} tokens in {len(data.sequences)} sequences,"
            f" {data.image_text_tokens} of image-text samples, {data.image_token_share:.1%} image"
            " tokens"
        )
        for part, pictures in data.pictures.items():
            self._save_pictures(part, pictures)
        return data

    def _save_pictures(self, part: Part, pictures: list[str]) -> None:
        self.store.cached("calibration_pictures", self._pictures_key(part), lambda: pictures)

    def _part_key(self, part: Part, block: int) -> str:
        return digest.of_value([part_digest(self.loaded, self.calibration, part), "block", block])

    def _pictures_key(self, part: Part) -> str:
        return digest.of_value([part_digest(self.loaded, self.calibration, part), "pictures"])

    def _factors_key(self, block: int) -> str:
        return digest.of_value([self.origin, "block", block])


def open_run(config: Config, progress: Progress = SILENT) -> CalibrationRun:
    """Load the model of a configuration and open its store.

    Args:
        config: Names the model, the calibration and the store.
        progress: Where calibration and quantization report to.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    store = Store(Path(config.store))
    return CalibrationRun(open_model(config), config.calibration, store, progress)


def open_model(config: Config) -> LoadedModel:
    """Load the model of a configuration, with its weights.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    model = config.model
    return load_model(
        model.name,
        model.path,
        model.dtype,
        model.device,
        model.revision,
        streamed=model.memory == "streamed",
    )


@contextlib.contextmanager
def claim_all(store: Store, kind: str, keys: Iterable[str]) -> Iterator[None]:
    """Claim several entries, so that no other process makes any of them inside.

    Always in the same order, so that no two processes wait for each other.
    """
    with contextlib.ExitStack() as stack:
        for key in sorted(set(keys)):
            stack.enter_context(store.claim(kind, key))
        yield
