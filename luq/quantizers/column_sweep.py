"""Error feedback over columns (OBQ/GPTQ), written once for every method that uses it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from luq.types import Event, LayerStats, QuantizationError, require_finite

BlockQuantizer = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
ColumnQuantizer = Callable[[Tensor, Tensor, int], Tensor]
MAX_ESCALATIONS = 3


def prepare(weight: Tensor, stats: LayerStats | None, method: str) -> tuple[Tensor, Tensor, Tensor]:
    """Checked copies: weight (out, in) float32, Hessian (in, in) float64, dead columns (in,) bool.

    The weights of a column whose input is always zero cannot matter and are to be set to zero (GPTQ's rule).
    """
    if stats is None:
        raise QuantizationError(f"{method} needs calibration statistics and got none; run the calibration first")
    if stats.tokens <= 0:
        raise QuantizationError(f"{method}: the calibration statistics are empty (0 tokens); were the hooks reached?")
    if stats.hessian.shape != (weight.shape[1], weight.shape[1]):
        raise QuantizationError(
            f"{method}: the Hessian is {tuple(stats.hessian.shape)}, but the weight is {tuple(weight.shape)}: both need the same inputs"
        )
    require_finite(weight, f"{method}: the weight")
    require_finite(stats.hessian, f"{method}: the Hessian")
    hessian = stats.hessian.double().clone()
    dead = hessian.diagonal() == 0
    if bool(dead.all()):
        raise QuantizationError(f"{method}: every input column is zero on the calibration data; were the hooks reached?")
    return weight.float().clone(), hessian, dead


def inverse_factor(hessian: Tensor, damping: float) -> tuple[Tensor, tuple[Event, ...]]:
    """Upper triangular U with (H + λI)⁻¹ = UᵀU and λ = damping · mean(diag H): (in, in) float32, and what had to be done to get it.

    Dead columns (H_jj = 0) count as zeros in the mean and then get the mean themselves: the published code gives them 1, so that λ depends
    on the Hessian's scale; here it does not, and where H is large the two agree.
    Where H + λI is not positive definite, λ is multiplied by ten, at most three times; each escalation is an event.
    """
    mean = hessian.diagonal().mean()
    hessian = hessian.clone()
    hessian.diagonal()[hessian.diagonal() == 0] = mean
    for attempt in range(MAX_ESCALATIONS + 1):
        share = damping * 10**attempt
        damped = hessian.clone()
        damped.diagonal().add_(share * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if int(failed) == 0:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if int(failed) == 0 and bool(torch.isfinite(upper).all()):
            events = () if attempt == 0 else (Event("damping", f"raised from {damping:g} to {share:g} of the mean diagonal"),)
            return upper.float(), events
    raise QuantizationError(
        f"the Hessian is not positive definite even with {share:g} of its mean diagonal added; use more calibration tokens or damping"
    )


def sweep_blocks(weight: Tensor, factor: Tensor, block: int, quantize: BlockQuantizer) -> Tensor:
    """Quantize `block` columns at a time and push each block's error to the columns on its right: W[:, rest] -= E U[block, rest].

    quantize(W, U_bb, start) sees the whole current weight (out, in), the block's part of U and the block's first column, and returns the
    block's values and its error E, both (out, width). Returns the quantized weight (out, in) float32.
    """
    weight = weight.clone()
    result = torch.empty_like(weight)
    for start in range(0, weight.shape[1], block):
        end = min(start + block, weight.shape[1])
        values, error = quantize(weight, factor[start:end, start:end], start)
        result[:, start:end] = values
        weight[:, end:] -= error @ factor[start:end, end:]
    return result


def column_by_column(quantize: ColumnQuantizer) -> BlockQuantizer:
    """A block quantizer that pushes every column's error to the columns on its right inside the block as well: e = (w - q) / U_ii,
    w_j -= e U_ij (GPTQ). quantize(W, column (out, 1), place) sees the current whole weight and returns the column's value (out, 1)."""

    def quantize_block(current: Tensor, upper: Tensor, start: int) -> tuple[Tensor, Tensor]:
        working = current[:, start : start + upper.shape[0]].clone()
        values, errors = torch.empty_like(working), torch.empty_like(working)
        for i in range(upper.shape[0]):
            column = working[:, i : i + 1]
            values[:, i : i + 1] = quantize(current, column, start + i)
            errors[:, i : i + 1] = (column - values[:, i : i + 1]) / upper[i, i]
            working[:, i:] -= errors[:, i : i + 1] * upper[i, i:]
        return values, errors

    return quantize_block
