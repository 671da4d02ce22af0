"""The model `luq` of lmms-eval's own command line: any variant that the harness can make."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from harness.config.compose import compose
from harness.evaluation.lmms_model import LuqModel
from harness.variants.calibration_run import open_run
from harness.variants.variant import make_variant
from luq.decoder.apply import applied

LMMS_EVAL_OPTIONS = {"max_batch_size"}  # what lmms-eval passes to every model


class CommandLineModel(LuqModel):
    """`--model luq --model_args model=mini,variant=luq,k=4,store=runs`.

    Args:
        variant: A method of conf/method.
        model: A model of conf/model.
        store: Where calibration statistics and quantized blocks are stored.
        batch_size: How many questions go through the model at once.
        device: As in `model.device`; None for the configuration's.
        prefetch: See `LuqModel`.
        **overrides: `k`, and other keys of the configuration in full: `calibration.alpha=0`.

    Raises:
        ConfigError: The configuration cannot be.
        QuantizationError: The model cannot be quantized.
    """

    def __init__(
        self,
        variant: str = "luq",
        model: str = "mini",
        store: str = "runs",
        batch_size: int | str = 64,
        device: str | None = None,
        prefetch: bool | None = None,
        **overrides: Any,
    ):
        config = compose(overrides_of(variant, model, store, device, overrides))
        run = open_run(config)
        quantized = make_variant(run, config.method, config.entropy, config.workers)
        super().__init__(loaded=run.loaded, batch_size=int(batch_size), prefetch=prefetch)
        self._weights = contextlib.ExitStack()  # in the model for the life of the process
        self._weights.enter_context(applied(run.loaded.model, run.loaded.family, quantized.weights))


def overrides_of(
    variant: str, model: str, store: str, device: str | None, others: Mapping[str, Any]
) -> list[str]:
    """The overrides of the harness for arguments of `--model_args`."""
    keys = {"method": variant, "model": model, "store": store}
    keys |= {} if device is None else {"model.device": device}
    keys |= {
        "method.k" if key == "k" else key: value
        for key, value in others.items()
        if key not in LMMS_EVAL_OPTIONS
    }
    return [f"{key}={value}" for key, value in keys.items()]
