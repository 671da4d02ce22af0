"""GPTQ and BiLLM as plain loops over columns and candidates, the way they are published.

The reference of `python -m bench` and of the tests; nothing here is used to quantize.
"""

from __future__ import annotations

import torch
from torch import Tensor

from luq.quantizers.billm import binarize
from luq.quantizers.billm_search import SPLIT_QUANTILES

DAMPING = 0.01


def plain_factor(hessian: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse of the damped Hessian.

    Args:
        hessian: (in, in), positive semi-definite.

    Returns:
        (in, in), upper triangular.
    """
    damped = hessian + DAMPING * hessian.diagonal().mean() * torch.eye(
        len(hessian), dtype=hessian.dtype, device=hessian.device
    )
    factor: Tensor = torch.linalg.cholesky(
        torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True
    )
    return factor


def plain_gptq(
    weight: Tensor, hessian: Tensor, bits: int, group: int = 128, block: int = 128
) -> Tensor:
    """Asymmetric GPTQ, left to right, column by column (Frantar et al., arXiv 2210.17323).

    Args:
        weight: (out, in).
        hessian: Of the inputs, (in, in).
        bits: Of each weight.
        group: Columns that share a scale and a zero point.
        block: Columns behind which the remaining ones are updated.

    Returns:
        The quantized weight, (out, in).
    """
    weight, upper = weight.clone(), plain_factor(hessian)
    result, top = torch.zeros_like(weight), 2**bits - 1
    scale = zero = torch.zeros(0)
    for start in range(0, weight.shape[1], block):
        end = min(start + block, weight.shape[1])
        part, corner = weight[:, start:end].clone(), upper[start:end, start:end]
        errors = torch.zeros_like(part)
        for i in range(end - start):
            if (start + i) % group == 0:
                columns = weight[:, start + i : start + i + group]
                low, high = columns.amin(1).clamp(max=0), columns.amax(1).clamp(min=0)
                scale = ((high - low) / top).half().to(weight.dtype)
                zero = torch.round(-low / scale)
            column = part[:, i]
            value = scale * (torch.clamp(torch.round(column / scale) + zero, 0, top) - zero)
            result[:, start + i] = value
            errors[:, i] = (column - value) / corner[i, i]
            part[:, i:] -= errors[:, i : i + 1] @ corner[i : i + 1, i:]
        weight[:, end:] -= errors @ upper[start:end, end:]
    return result


def binarized(values: Tensor, mask: Tensor, order: int) -> Tensor:
    """Binarize the masked entries, then what is left of them, `order` times.

    Args:
        values: (out, in).
        mask: Entries that count, (out, in) bool.
        order: Number of binarizations whose sum is returned.
    """
    total = torch.zeros_like(values)
    for _ in range(order):
        mean, scale, signs = binarize(values - total, mask)
        total = total + torch.where(mask, mean + torch.where(signs, scale, -scale), 0.0)
    return total


def plain_search(saliency: Tensor) -> tuple[Tensor, Tensor]:
    """BiLLM's two searches, one candidate at a time (Huang et al., arXiv 2402.04291).

    Args:
        saliency: (out, columns of a block).

    Returns:
        Salient columns, (columns) bool, and the sparse group among the others, (out, columns) bool.
    """
    order = torch.argsort(saliency.abs().sum(dim=0), descending=True, stable=True)
    best, salient = float("inf"), torch.zeros_like(saliency[0], dtype=torch.bool)
    for count in range(1, min(50, saliency.shape[1])):
        chosen = torch.zeros_like(salient)
        chosen[order[:count]] = True
        mask = chosen.expand_as(saliency)
        error = float(
            (saliency - binarized(saliency, mask, 2) - binarized(saliency, ~mask, 2))
            .square()
            .mean()
        )
        if error < best:
            best, salient = error, chosen
    magnitude = torch.where(salient, 0.0, saliency.abs())
    quantiles = magnitude.new_tensor(SPLIT_QUANTILES, dtype=torch.float64)
    thresholds = torch.quantile(magnitude.double(), quantiles).float()
    best, sparse = float("inf"), torch.zeros_like(magnitude, dtype=torch.bool)
    for threshold in thresholds:
        high = (magnitude >= threshold) & ~salient
        low = ~high & ~salient
        error = float(
            (
                torch.where(salient, 0.0, saliency)
                - binarized(saliency, high, 1)
                - binarized(saliency, low, 1)
            )
            .square()
            .mean()
        )
        if error < best:
            best, sparse = error, high
    return salient, sparse


def plain_billm(weight: Tensor, hessian: Tensor, block: int = 128) -> Tensor:
    """BiLLM as released, each search one candidate at a time (Huang et al., arXiv 2402.04291).

    Args:
        weight: (out, in).
        hessian: Of the inputs, (in, in).
        block: Columns that are binarized together.

    Returns:
        The quantized weight, (out, in).
    """
    weight, upper = weight.clone(), plain_factor(hessian)
    result = torch.zeros_like(weight)
    for start in range(0, weight.shape[1], block):
        end = min(start + block, weight.shape[1])
        part, diagonal = weight[:, start:end], upper.diagonal()[start:end]
        salient, sparse = plain_search(part.square() / diagonal.square())
        columns = salient.expand_as(part)
        value = (
            binarized(part, columns, 2)
            + binarized(part, sparse, 1)
            + binarized(part, ~sparse & ~columns, 1)
        )
        result[:, start:end] = value
        weight[:, end:] -= (part - value) / diagonal @ upper[start:end, end:]
    return result
