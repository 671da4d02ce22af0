"""BiLLM's two searches: the number of salient columns, and the split of the other weights.

They make the choices of the published code. Errors of all candidates come from order statistics of
each row instead of one binarization for each candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SPLIT_QUANTILES = tuple(q / 100 for q in range(10, 91))


def search_salient_columns(saliency: Tensor, limit: int) -> Tensor:
    """Return the salient columns of a block.

    They are the first i columns by total saliency; i is the first minimum over 1..limit-1 of the
    error on the saliency, with both parts binarized to second order, as in the published code.

    Args:
        saliency: (rows, columns) float32.
        limit: one more than the largest i.

    Returns:
        (columns,) bool.
    """
    most = min(limit, saliency.shape[1]) - 1
    if most < 1:
        return torch.ones(saliency.shape[1], dtype=torch.bool, device=saliency.device)
    order = torch.argsort(saliency.abs().sum(dim=0), descending=True, stable=True)
    best = 1 + int(torch.argmin(column_errors(saliency[:, order], most)))
    return torch.argsort(order) < best


def column_errors(values: Tensor, most: int) -> Tensor:
    """Return the errors of binarizing the first i columns and the others apart, for i = 1..most.

    Each part is binarized to second order. The error of a binarization depends on its entries x
    only through Σ x, Σ x², the number below some t, and Σ min(x, t). Those of the other columns are
    those of the row, from its prefix sums, less those of the first i columns.

    Args:
        values: (rows, columns), the most salient column first.
        most: largest i.

    Returns:
        (most,) float64, squared errors summed over rows.
    """
    columns = len(values.T)
    wide = values.T.contiguous()
    row = _Rows(values)
    sums, squares = wide.double().cumsum(dim=0), wide.double().square().cumsum(dim=0)
    count = torch.arange(1, most + 1, dtype=torch.float64, device=values.device)[:, None]
    parts = (
        (count, sums[:most], squares[:most], False),
        (columns - count, sums[-1] - sums[:most], squares[-1] - squares[:most], True),
    )
    means = [total / number for number, total, _, _ in parts]
    below, lesser = _over_first(wide, means, counting=True), _over_first(wide, means)
    table = row.below(means[1]), row.lesser(means[1])
    below[1], lesser[1] = table[0] - below[1], table[1] - lesser[1]
    scales = [
        2 * (total - part) / number
        for (number, total, _, _), part in zip(parts, lesser, strict=True)
    ]
    # Entries below the mean became mean - scale, the others mean + scale; what is left of each is
    # binarized again around its own mean.
    rests = [
        scale * (2 * b - number) / number
        for (number, *_), scale, b in zip(parts, scales, below, strict=True)
    ]
    centres = [
        [mean - scale + rest, mean + scale + rest]
        for mean, scale, rest in zip(means, scales, rests, strict=True)
    ]
    nearer = _over_first(wide, [*centres[0], *centres[1]])
    nearer = [
        *nearer[:2],
        *(row.lesser(t) - part for t, part in zip(centres[1], nearer[2:], strict=True)),
    ]
    errors = torch.zeros(most, dtype=torch.float64, device=values.device)
    for p, (number, total, square, _) in enumerate(parts):
        low, high = centres[p]
        under = lesser[p] - means[p] * (number - below[p])  # the sum of the entries below the mean
        around_low = 2 * (low * number - nearer[2 * p]) + under - low * below[p]
        around_high = (
            (total - under)
            - high * (number - below[p])
            + 2 * (high * number - nearer[2 * p + 1] - high * below[p] + under)
        )
        second = (around_low + around_high) / number
        explained = means[p].square() + scales[p].square() + rests[p].square() + second.square()
        errors += (square - number * explained).sum(dim=1)
    return errors


def _over_first(
    wide: Tensor, thresholds: Sequence[Tensor], *, counting: bool = False
) -> list[Tensor]:
    """Return Σ min(x, t) over the first i + 1 rows of `wide`, for row i of each threshold t.

    Args:
        wide: (columns, rows).
        thresholds: (candidates, rows) each.
        counting: return the number of x < t instead.
    """
    narrow = torch.stack([t.float() for t in thresholds])
    sums = torch.empty_like(narrow)
    space = wide.new_empty(len(narrow), *narrow.shape[1:])
    for i in range(narrow.shape[1]):
        room = space[:, : i + 1]
        (torch.lt if counting else torch.minimum)(wide[: i + 1], narrow[:, i, None], out=room)
        torch.sum(room, dim=1, out=sums[:, i])
    return list(sums.double())


class _Rows:
    """The rows of a matrix (rows, columns) in ascending order, with their prefix sums."""

    def __init__(self, values: Tensor):
        self.ordered = ascending(values)
        self.sums = torch.zeros(
            len(values), values.shape[1] + 1, dtype=torch.float64, device=values.device
        )
        torch.cumsum(self.ordered, dim=1, dtype=torch.float64, out=self.sums[:, 1:])

    def place(self, thresholds: Tensor) -> Tensor:
        """Return how many entries of each row are below each of its thresholds, (rows, queries)."""
        return torch.searchsorted(self.ordered, thresholds.to(self.ordered.dtype).contiguous())

    def below(self, thresholds: Tensor) -> Tensor:
        """Return the same in float64, for thresholds and result of shape (queries, rows)."""
        return self.place(thresholds.T).T.double()

    def lesser(self, thresholds: Tensor) -> Tensor:
        """Return Σ min(x, t) over each row, for thresholds and result of shape (queries, rows)."""
        place = self.place(thresholds.T)
        return (self.sums.gather(1, place) + thresholds.T * (self.ordered.shape[1] - place)).T


def search_split(target: Tensor, salient: Tensor) -> Tensor:
    """Return the sparse group |target| >= p, with p the quantile of least binarization error.

    Args:
        target: (rows, columns), the saliency or the weight.
        salient: (columns,) bool, excluded from both groups; as in the published code, the quantiles
            count these columns as zeros.

    Returns:
        (rows, columns) bool.
    """
    magnitude = torch.where(salient, 0.0, target.abs())
    ordered = ascending(magnitude.reshape(-1))
    places = torch.tensor(SPLIT_QUANTILES, dtype=torch.float64, device=target.device) * (
        ordered.numel() - 1
    )
    low = places.floor().long()
    thresholds = torch.lerp(
        ordered[low].double(),
        ordered[(low + 1).clamp(max=ordered.numel() - 1)].double(),
        places - low,
    ).float()
    best = thresholds[torch.argmin(split_errors(target[:, ~salient], thresholds))]
    return (magnitude >= best) & ~salient


def split_errors(values: Tensor, thresholds: Tensor) -> Tensor:
    """Return the errors of binarizing |v| < p and |v| >= p apart, for every threshold p.

    In a sorted row the first group is one interval and the second what is outside it. Counts, sums
    and absolute deviations come from prefix sums, with no work for each weight and threshold.

    Args:
        values: (rows, columns).
        thresholds: (candidates,).

    Returns:
        (candidates,) float64, squared errors summed over rows.
    """
    rows, columns = values.shape
    row = _Rows(values)
    bound = thresholds.to(values).expand(rows, -1).contiguous()
    last = row.place(bound)
    first = torch.zeros_like(last)
    if columns and float(row.ordered[:, 0].min()) < 0:
        first = torch.searchsorted(row.ordered, -bound, right=True)
        last = torch.maximum(last, first)

    inside = last - first
    before, until = row.sums.gather(1, first), row.sums.gather(1, last)
    total = row.sums[:, -1:]

    def deviations(mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return Σ |v - mean| over the first group and over the whole row."""
        place = row.place(mean)
        at = row.sums.gather(1, place)
        whole = mean * (2 * place - columns) + total - 2 * at
        middle = torch.minimum(torch.maximum(place, first), last)
        at = torch.where(place == middle, at, row.sums.gather(1, middle))
        return mean * (2 * middle - first - last) + before + until - 2 * at, whole

    explained = torch.zeros(len(thresholds), dtype=torch.float64, device=values.device)
    for count, group_sum, outside in (
        (inside, until - before, False),
        (columns - inside, total - until + before, True),
    ):
        mean = group_sum / count.clamp(min=1)
        within, whole = deviations(mean)
        spread = whole - within if outside else within
        # The error is Σ (v - μ)² - c α² with α = Σ |v - μ| / c, and the squares of both groups add
        # up to those of the row.
        explained += (count * mean.square() + spread.square() / count.clamp(min=1)).sum(dim=0)
    return values.double().square().sum() - explained


def ascending(values: Tensor) -> Tensor:
    """Sort along the last dimension; on a CPU with NumPy, which is several times faster."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(dim=-1).values
