"""What a result was made with: versions and machine."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

import torch

PACKAGES = ("luq-harness", "torch", "transformers", "lmms-eval", "lm-eval", "datasets")


@cache
def made_with(device: torch.device, dtype: str) -> dict[str, str]:
    """Package versions, Python's, and the device with the type that it computes in."""
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
