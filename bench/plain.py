"""GPTQ and BiLLM as plain loops over columns and candidates, the way they are published: what `make
bench` measures against, and what the tests compare with. Nothing here is used to quantize.
"""

from __future__ import annotations

import torch
from torch import Tensor

from luq.quantizers.billm import binarize
from luq.quantizers.billm_search import SPLIT_QUANTILES

DAMPING = 0.01


def plain_factor(hessian: Tensor) -> Tensor:
    """Upper Cholesky factor of the damped inverse: (in, in)."""
    damped = hessian + DAMPING * hessian.diagonal().mean() * torch.eye(
        len(hessian), dtype=hessian.dtype
    )
    factor: Tensor = torch.linalg.cholesky(
        torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True
    )
    return factor


def plain_gptq(
    weight: Tensor, hessian: Tensor, bits: int, group: int = 128, block: int = 128
) -> Tensor:
    """Asymmetric GPTQ, left to right, one column after the other inside blocks with a lazy update
    behind each: (out, in).
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


def rebuilt(values: Tensor, mask: Tensor, order: int) -> Tensor:
    """`order` binarizations of the masked entries, written out as the published algorithm does."""
    total = torch.zeros_like(values)
    for _ in range(order):
        mean, scale, signs = binarize(values - total, mask)
        total = total + torch.where(mask, mean + torch.where(signs, scale, -scale), 0.0)
    return total


def plain_search(saliency: Tensor) -> tuple[Tensor, Tensor]:
    """BiLLM's two searches, one candidate at a time: (salient columns, sparse group)."""
    order = torch.argsort(saliency.abs().sum(dim=0), descending=True, stable=True)
    best, salient = float("inf"), torch.zeros(saliency.shape[1], dtype=torch.bool)
    for count in range(1, min(50, saliency.shape[1])):
        chosen = torch.zeros_like(salient)
        chosen[order[:count]] = True
        mask = chosen.expand_as(saliency)
        error = float(
            (saliency - rebuilt(saliency, mask, 2) - rebuilt(saliency, ~mask, 2)).square().mean()
        )
        if error < best:
            best, salient = error, chosen
    magnitude = torch.where(salient, 0.0, saliency.abs())
    thresholds = torch.quantile(
        magnitude.double(), torch.tensor(SPLIT_QUANTILES, dtype=torch.float64)
    ).float()
    best, sparse = float("inf"), torch.zeros_like(magnitude, dtype=torch.bool)
    for threshold in thresholds:
        high = (magnitude >= threshold) & ~salient
        low = ~high & ~salient
        error = float(
            (
                torch.where(salient, 0.0, saliency)
                - rebuilt(saliency, high, 1)
                - rebuilt(saliency, low, 1)
            )
            .square()
            .mean()
        )
        if error < best:
            best, sparse = error, high
    return salient, sparse


def plain_billm(weight: Tensor, hessian: Tensor, block: int = 128) -> Tensor:
    """BiLLM as released, with both searches one candidate at a time: (out, in)."""
    weight, upper = weight.clone(), plain_factor(hessian)
    result = torch.zeros_like(weight)
    for start in range(0, weight.shape[1], block):
        end = min(start + block, weight.shape[1])
        part, diagonal = weight[:, start:end], upper.diagonal()[start:end]
        salient, sparse = plain_search(part.square() / diagonal.square())
        columns = salient.expand_as(part)
        value = (
            rebuilt(part, columns, 2)
            + rebuilt(part, sparse, 1)
            + rebuilt(part, ~sparse & ~columns, 1)
        )
        result[:, start:end] = value
        weight[:, end:] -= (part - value) / diagonal @ upper[start:end, end:]
    return result
