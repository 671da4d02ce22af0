"""Error feedback over columns, for every method that uses it.

Source: OBQ (Frantar and Alistarh, NeurIPS 2022) and GPTQ (Frantar et al., ICLR 2023).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from luq.types import Event, Factor, LayerStats, QuantizationError, Quantizer, require_finite

# (current weight (out, in), U of the columns (width, width), first column) -> values and errors,
# both (out, width).
ColumnsQuantizer = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
# (current weight (out, in), column (out,), its index, where to write its value (out,)).
ColumnQuantizer = Callable[[Tensor, Tensor, int, Tensor], None]
MAX_ESCALATIONS = 3  # times that the damping is multiplied by ten
# Columns between two matrix updates inside a block: few enough for the rank-one updates to stay in
# the cache.
SUBBLOCK = 16
LEAF = 128  # size below which a triangle is inverted directly


def prepare(
    weight: Tensor, stats: LayerStats | None, method: str
) -> tuple[Tensor, LayerStats, Tensor]:
    """Check the arguments of a method that uses a Hessian.

    The weights of a dead column, whose input is always zero, have no effect; GPTQ sets them to
    zero.

    Args:
        weight: (out, in).
        stats: statistics of the layer.
        method: name, for messages.

    Returns:
        A copy of the weight in float32, the statistics, and the dead columns (in,) bool.

    Raises:
        QuantizationError: The weight or the statistics cannot be used.
    """
    weight = require_matrix(weight, method)
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


def require_matrix(weight: Tensor, method: str) -> Tensor:
    """Return the weight without its gradient graph.

    Raises:
        QuantizationError: Names the method; the weight is no finite matrix.
    """
    if weight.ndim != 2 or weight.numel() == 0:
        raise QuantizationError(
            f"{method}: the weight has the shape {tuple(weight.shape)}; a linear layer has (out,"
            " in). Leave other modules as they are"
        )
    require_finite(weight, f"{method}: the weight")
    return weight.detach()


def activation_order(hessian: Tensor) -> Tensor:
    """Return the columns by descending H_jj before damping, (in,); ties by index.

    Source: act-order in the code of GPTQ.
    """
    return torch.argsort(hessian.diagonal(), descending=True, stable=True)


def inverse_factor(
    stats: LayerStats, damping: float, device: torch.device, *, act_order: bool = False
) -> tuple[Tensor, tuple[Event, ...]]:
    """Return the upper triangular U with (H + λI)⁻¹ = UᵀU and λ = damping · mean(diag H).

    It is computed once for each Hessian and cached in `stats.factors`. Where H + λI is not positive
    definite, λ is multiplied by ten, at most MAX_ESCALATIONS times.

    Dead columns (H_jj = 0) count as zeros in the mean and then get the mean themselves. The code of
    GPTQ gives them 1, so that λ depends on the scale of the Hessian; here it does not, and where H
    is large the two agree.

    Args:
        stats: statistics of the layer.
        damping: λ as a share of the mean diagonal.
        device: where U is computed.
        act_order: whether the columns are in `activation_order`.

    Returns:
        U, (in, in) float32 on `device`, and events: an increased damping, or fewer calibration
        tokens than inputs.

    Raises:
        QuantizationError: H is not positive definite even with the largest damping.
    """
    name = _factor_name(damping, act_order=act_order)
    factor = stats.factors.get(name)
    if factor is None:
        factor = _factorize(_reversed_hessian(stats.hessian, device, act_order=act_order), damping)
        stats.factors[name] = factor
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


def factor_names(quantizer: Quantizer) -> list[str]:
    """Names, in `LayerStats.factors`, of the factors that a quantizer works with: by its fields
    `damping` and `act_order`, none where it has no damping.
    """
    damping = getattr(quantizer, "damping", None)
    if damping is None:
        return []
    return [_factor_name(damping, act_order=getattr(quantizer, "act_order", False))]


def _factor_name(damping: float, *, act_order: bool) -> str:
    return f"{damping:g}{'-act-order' if act_order else ''}"


def _reversed_hessian(hessian: Tensor, device: torch.device, *, act_order: bool) -> Tensor:
    """Copy the Hessian in float64, with columns from the last to be quantized to the first."""
    if not act_order:
        return hessian.to(device, torch.float64).flip(0, 1)
    order = activation_order(hessian).flip(0).to(device)
    return hessian.to(device, torch.float64)[order][:, order]


def _factorize(backward: Tensor, damping: float) -> Factor:
    """Compute the factor from the Hessian with columns reversed.

    With L Lᵀ = J H J, J the reversal, U is the inverse of J L J: one Cholesky factor and the
    inverse of a triangle, where the code of GPTQ inverts the whole matrix. Two such matrices are in
    memory at once: 5.8 GB for 18,944 inputs.

    Args:
        backward: J H J, (in, in) float64; overwritten.
        damping: share of the mean diagonal.
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
    """Invert a lower triangular matrix in place, by halves: most of the work is matrix products."""
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


def sweep_blocks(weight: Tensor, factor: Tensor, block: int, quantize: ColumnsQuantizer) -> Tensor:
    """Quantize `block` columns at a time and add each block's error to the columns on its right.

    W[:, rest] -= E U[block, rest], the lazy update of GPTQ.

    Args:
        weight: (out, in) float32.
        factor: U, (in, in).
        block: columns between two updates.
        quantize: gives the values and the error E of each block; it gets the whole current weight.

    Returns:
        The quantized weight, (out, in) float32. In memory its columns are contiguous.
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


def column_by_column(quantize: ColumnQuantizer) -> ColumnsQuantizer:
    """Return a function for `sweep_blocks` that also feeds errors back inside a block.

    e = (w - q) / U_ii, w_j -= e U_ij for the columns j on the right (GPTQ, equations 2 and 3).

    Args:
        quantize: writes the value of one column.
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
