"""stage=export: write one variant as a model folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.store.store import safe_name
from harness.variants.calibration_run import open_run
from harness.variants.export import export_model
from harness.variants.variant import make_variant
from luq.types import QuantizationError
from reports.report.lines import bytes_text


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Write the variant of every job; one that cannot be quantized has failed."""
    return sum((_export(job, progress) for job in jobs), Outcome())


def _export(job: Job, progress: Progress) -> Outcome:
    config = job.config
    progress.step("loading the model, quantizing")
    try:
        calibration_run = open_run(config, progress)
        variant = make_variant(calibration_run, config.method, config.entropy, config.workers)
    except QuantizationError as error:
        progress.message(f"FAILED {config.method.name}: {error}")
        return Outcome(failed=1)
    loaded = calibration_run.loaded
    name = f"{safe_name(f'{loaded.name}-{config.method.name}')}-{variant.digest[:8]}"
    folder = Path(config.out or Path(config.store) / "export" / name)
    size = export_model(folder, loaded, variant, config.method.name)
    progress.message(
        f"{folder}: {bytes_text(size)} in all, {variant.stored_bits:.3f} stored bits per weight of "
        "the decoder's linears"
    )
    progress.message(
        f"Evaluate it: python -m harness method=fp model.name={loaded.name}-packed "
        f"model.path={shlex.quote(str(folder))}"
    )
    return Outcome()
