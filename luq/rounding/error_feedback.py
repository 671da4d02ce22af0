"""Error feedback over columns (OBQ/GPTQ), written once for every method that uses it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from luq.types import Event, Factor, LayerStats, QuantizationError, require_finite

BlockQuantizer = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
ColumnQuantizer = Callable[[Tensor, Tensor, int, Tensor], None]
MAX_ESCALATIONS = 3
# Columns between two updates of the block they lie in: few enough for the rank-one updates to stay
# in the cache.
SUBBLOCK = 16
LEAF = 128


def prepare(
    weight: Tensor, stats: LayerStats | None, method: str
) -> tuple[Tensor, LayerStats, Tensor]:
    """Checked arguments: a copy of the weight (out, in) float32, its statistics, and its dead
    columns (in,) bool.

    The weights of a column whose input is always zero cannot matter and are to be set to zero
    (GPTQ's rule).
    """
    require_matrix(weight, method)
    if stats is None:
        raise QuantizationError(
            f"{method} needs calibration statistics and got none; run the calibration first"
        )
    if stats.tokens <= 0:
        raise QuantizationError(
            f"{method}: the calibration statistics are empty (0 tokens); were the hooks reached?"
        )
    if stats.hessian.shape != (weight.shape[1], weight.shape[1]):
        raise QuantizationError(
            f"{method}: the Hessian is {tuple(stats.hessian.shape)}, but the weight is"
            f" {tuple(weight.shape)}: both need the same inputs"
        )
    require_finite(stats.hessian, f"{method}: the Hessian")
    dead = stats.hessian.diagonal() == 0
    if bool(dead.all()):
        raise QuantizationError(
            f"{method}: every input column is zero on the calibration data; were the hooks reached?"
        )
    return weight.float().clone(), stats, dead.to(weight.device)


def require_matrix(weight: Tensor, method: str) -> None:
    """Raise QuantizationError unless the weight is a finite matrix."""
    if weight.ndim != 2 or weight.numel() == 0:
        raise QuantizationError(
            f"{method}: the weight has the shape {tuple(weight.shape)}; a linear layer has (out,"
            " in). Leave other modules as they are"
        )
    require_finite(weight, f"{method}: the weight")


def activation_order(hessian: Tensor) -> Tensor:
    """(in,): columns by descending H_jj, taken before damping; ties by index (GPTQ's act-order)."""
    return torch.argsort(hessian.diagonal(), descending=True, stable=True)


def inverse_factor(
    stats: LayerStats, damping: float, device: torch.device, *, act_order: bool = False
) -> tuple[Tensor, tuple[Event, ...]]:
    """Upper triangular U with (H + λI)⁻¹ = UᵀU and λ = damping · mean(diag H):

    (in, in) float32 on `device`, where it is computed, and what had to be done to get it.

    With act_order for the columns in `activation_order`. Computed once for each Hessian and kept in
    `stats.factors`. Dead columns (H_jj = 0) count as zeros in the mean and then get the mean
    themselves: the published code gives them 1, so that λ depends on the Hessian's scale; here it
    does not, and where H is large the two agree. Where H + λI is not positive definite, λ is
    multiplied by ten, at most three times; an escalation is an event, and so are fewer calibration
    tokens than inputs.
    """
    name = f"{damping:g}{'-act-order' if act_order else ''}"
    factor = stats.factors.load(name)
    if factor is None:
        factor = _factorize(_reversed_hessian(stats.hessian, device, act_order=act_order), damping)
        stats.factors.save(name, factor)
    events = []
    if stats.tokens < len(stats.hessian):
        events.append(
            Event(
                "rank",
                f"{stats.tokens} calibration tokens for {len(stats.hessian)} inputs: singular but"
                " for the damping",
            )
        )
    if factor.damping > damping:
        events.append(
            Event("damping", f"raised from {damping:g} to {factor.damping:g} of the mean diagonal")
        )
    return factor.upper.to(device), tuple(events)


def _reversed_hessian(hessian: Tensor, device: torch.device, *, act_order: bool) -> Tensor:
    """A copy in float64, columns in the order in which they are quantized, from the last to the
    first.
    """
    if not act_order:
        return hessian.to(device, torch.float64).flip(0, 1)
    order = activation_order(hessian).flip(0).to(device)
    return hessian.to(device, torch.float64)[order][:, order]


def _factorize(backward: Tensor, damping: float) -> Factor:
    """backward:

    (in, in) float64, the Hessian with columns reversed, J H J; it is used up. With L Lᵀ = J H J the
    factor is the inverse of J L J: one Cholesky factor and the inverse of a triangle, where the
    published code inverts the whole matrix. Memory holds two such matrices at once: 5.8 GB for
    18,944 inputs.
    """
    mean = backward.diagonal().flip(0).mean()
    backward.diagonal()[backward.diagonal() == 0] = mean
    diagonal = backward.diagonal().clone()
    for attempt in range(MAX_ESCALATIONS + 1):
        share = damping * 10**attempt
        backward.diagonal().copy_(diagonal + share * mean)
        lower, failed = torch.linalg.cholesky_ex(backward)
        if int(failed) == 0:
            _invert_lower(lower)
            single = lower.float()
            del lower
            if bool(torch.isfinite(single).all()):
                return Factor(single.flip(0, 1), share)
    raise QuantizationError(
        f"the Hessian is not positive definite even with {share:g} of its mean diagonal added; use"
        " more calibration tokens or damping"
    )


def _invert_lower(matrix: Tensor) -> None:
    """Invert a lower triangular matrix in place, by halves: almost all of the work is matrix
    products.
    """
    size = len(matrix)
    if size <= LEAF:
        matrix.copy_(
            torch.linalg.solve_triangular(
                matrix, torch.eye(size, dtype=matrix.dtype, device=matrix.device), upper=False
            )
        )
        return
    half = size // 2
    first, corner, second = matrix[:half, :half], matrix[half:, :half], matrix[half:, half:]
    _invert_lower(first)
    _invert_lower(second)
    torch.matmul(second @ corner, first, out=corner).neg_()


def sweep_blocks(weight: Tensor, factor: Tensor, block: int, quantize: BlockQuantizer) -> Tensor:
    """Quantize `block` columns at a time and push each block's error to the columns on its right:
    W[:, rest] -= E U[block, rest].

    quantize(W, U_bb, start) sees the whole current weight (out, in), the block's part of U and the
    block's first column, and returns the block's values and its error E, both (out, width). Returns
    the quantized weight (out, in) float32. Inside, columns are contiguous.
    """
    current = weight.T.contiguous()
    result = torch.empty_like(current)
    for start in range(0, len(current), block):
        end = min(start + block, len(current))
        values, error = quantize(current.T, factor[start:end, start:end], start)
        result[start:end] = values.T
        current[end:].addmm_(factor[start:end, end:].T, error.T, alpha=-1)
    swept: Tensor = result.T
    return swept


def column_by_column(quantize: ColumnQuantizer) -> BlockQuantizer:
    """A block quantizer that pushes every column's error to the columns on its right inside the
    block as well: e = (w - q) / U_ii, w_j -= e U_ij (GPTQ). quantize(W, column, place, value) sees
    the current whole weight and writes the column's value, both (out,).
    """

    def quantize_block(current: Tensor, upper: Tensor, start: int) -> tuple[Tensor, Tensor]:
        working = current.T[start : start + len(upper)].clone()
        values, errors = torch.empty_like(working), torch.empty_like(working)
        diagonal = upper.diagonal().tolist()
        for first in range(0, len(upper), SUBBLOCK):
            last = min(first + SUBBLOCK, len(upper))
            for i in range(first, last):
                quantize(current, working[i], start + i, values[i])
                torch.sub(working[i], values[i], out=errors[i]).div_(diagonal[i])
                working[i + 1 : last].addr_(upper[i, i + 1 : last], errors[i], alpha=-1)
            working[last:].addmm_(upper[first:last, last:].T, errors[first:last], alpha=-1)
        return values.T, errors.T

    return quantize_block
