"""Check calibration data that a caller passes to `luq.quantize`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from luq.types import QuantizationError

# The keyword arguments of a model's forward pass for one sequence, or its token ids.
CalibrationSequence = Mapping[str, Any] | Tensor
ADVICE = (
    "give what the model's processor or tokenizer returns for one sample (return_tensors='pt', no"
    " padding), or a tensor of token ids"
)


def checked_sequences(
    calibration: Iterable[CalibrationSequence], device: torch.device
) -> list[dict[str, Any]]:
    """Return the sequences as keyword arguments of the model's forward pass.

    Args:
        calibration: see `luq.quantize`.
        device: where tensors are moved.

    Raises:
        QuantizationError: There are no sequences, or one is not a single unpadded sequence.
    """
    if isinstance(calibration, Mapping | str):
        raise QuantizationError(
            f"calibration is a single {type(calibration).__name__}; give a list of sequences, for"
            " instance [inputs]"
        )
    sequences = [
        _checked(sequence, f"calibration sequence {number}", device)
        for number, sequence in enumerate(calibration)
    ]
    if not sequences:
        raise QuantizationError(f"calibration is empty; {ADVICE}, for each of some samples")
    return sequences


def _checked(sequence: CalibrationSequence, label: str, device: torch.device) -> dict[str, Any]:
    if isinstance(sequence, Tensor) and sequence.ndim in (1, 2):
        sequence = {"input_ids": sequence if sequence.ndim == 2 else sequence[None]}
    if not isinstance(sequence, Mapping):
        raise QuantizationError(f"{label} is a {type(sequence).__name__}; {ADVICE}")
    ids = sequence.get("input_ids", sequence.get("inputs_embeds"))
    if not isinstance(ids, Tensor) or ids.ndim < 2:
        raise QuantizationError(
            f"{label} has no batch of token ids in `input_ids`, only {sorted(sequence)}; {ADVICE}"
        )
    if len(ids) != 1:
        raise QuantizationError(f"{label} is a batch of {len(ids)} sequences; {ADVICE}")
    if ids.shape[1] == 0:
        raise QuantizationError(f"{label} has no tokens; leave it out")
    mask = sequence.get("attention_mask")
    if isinstance(mask, Tensor) and not bool(mask.all()):
        raise QuantizationError(
            f"{label} is padded: {int((mask == 0).sum())} of its {mask.numel()} tokens are masked;"
            f" {ADVICE}"
        )
    return {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in sequence.items()
    }
