"""Provenance of results: versions of packages and the hardware."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

import torch

PACKAGES = ("luq-harness", "torch", "transformers", "lmms-eval", "lm-eval", "datasets")


@cache
def provenance(device: torch.device, dtype: str) -> dict[str, str]:
    """What a result was computed with.

    Args:
        device: Where the model is.
        dtype: What the model computes in.

    Returns:
        `hardware`, `dtype`, `python` and the version of every package, by name.
    """
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = (
            f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()},"
            f" {torch.get_num_threads()} threads"
        )
    return {
        "hardware": hardware,
        "dtype": dtype,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
