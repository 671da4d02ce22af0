"""BiLLM's parts against plain loops of the published algorithm."""

import numpy as np
import pytest
import torch

from luq.pipelines.synthetic import stats_of, synthetic_layer
from luq.quantizers.billm import BiLLM, binarize
from luq.quantizers.billm_search import (
    column_errors,
    search_salient_columns,
    search_split,
    split_errors,
)


def plain_order(values, mask, order):
    """`order` binarizations of the masked entries, row by row."""
    total = torch.zeros_like(values)
    for _ in range(order):
        for row in range(len(values)):
            chosen = mask[row]
            if chosen.any():
                rest = (values - total)[row][chosen]
                mean = rest.mean()
                scale = (rest - mean).abs().mean()
                total[row, chosen] += mean + scale * torch.where(rest - mean >= 0, 1.0, -1.0)
    return total


def squared_error(values, mask, order):
    """Squared error of binarizing the masked entries `order` times, (...,): Σ(x - μ)² - c·α²,
    summed over rows, residual after residual.
    """
    count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    residual = torch.where(mask, values, 0.0)
    scale = residual
    for step in range(order):
        if step:
            residual = residual - torch.where(residual >= 0, scale, -scale)
        mean = torch.where(mask, residual, 0.0).sum(dim=-1, keepdim=True) / count
        residual = torch.where(mask, residual - mean, 0.0)
        scale = residual.abs().sum(dim=-1, keepdim=True) / count
    counted = mask.sum(dim=-1, keepdim=True) * scale.square()
    return (residual.square().sum(dim=-1, keepdim=True) - counted).sum(dim=(-2, -1))


@pytest.fixture
def saliency():
    weight, inputs = synthetic_layer(out=12, inner=96, seed=3)
    return weight.square() * inputs.square().mean(dim=0)


@pytest.mark.parametrize("order", [1, 2])
def test_the_closed_form_error_is_the_error_of_the_binarized_values(saliency, order):
    mask = torch.rand(saliency.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    mask[4] = False
    expected = (
        (torch.where(mask, saliency, 0) - plain_order(saliency, mask, order))
        .double()
        .square()
        .sum()
    )
    assert float(squared_error(saliency.double(), mask, order)) == pytest.approx(
        float(expected), rel=1e-4
    )


def test_the_column_search_finds_the_first_minimum_of_a_plain_loop(saliency):
    order = saliency.abs().sum(dim=0).argsort(descending=True)
    errors = []
    for count in range(1, 50):
        mask = torch.zeros_like(saliency, dtype=torch.bool)
        mask[:, order[:count]] = True
        rebuilt = plain_order(saliency, mask, 2) + plain_order(saliency, ~mask, 2)
        errors.append(float((saliency - rebuilt).double().square().mean()))
    salient = search_salient_columns(saliency, 50)
    assert int(salient.sum()) == 1 + int(np.argmin(errors))
    assert salient[order[: int(salient.sum())]].all()


def test_the_split_search_finds_the_minimum_of_a_plain_loop(saliency):
    salient = torch.zeros(96, dtype=torch.bool)
    salient[:3] = True
    magnitude = torch.where(salient, 0.0, saliency)
    best = (float("inf"), None)
    for quantile in np.arange(10, 91) / 100:
        threshold = float(np.quantile(magnitude.numpy(), quantile))
        sparse = (magnitude >= threshold) & ~salient
        dense = ~sparse & ~salient
        error = float(
            (
                torch.where(salient, 0.0, saliency)
                - plain_order(saliency, sparse, 1)
                - plain_order(saliency, dense, 1)
            )
            .double()
            .square()
            .sum()
        )
        best = min(best, (error, int(sparse.sum())))
    assert int(search_split(saliency, salient).sum()) == pytest.approx(best[1], abs=2)


@pytest.mark.parametrize("signed", [True, False])
def test_column_errors_from_order_statistics_are_those_of_the_masks(saliency, signed):
    values = saliency - saliency.mean() if signed else saliency
    values[3], values[4, 5:] = 0.25, 0.0
    expected = []
    for count in range(1, 50):
        mask = torch.zeros_like(values, dtype=torch.bool)
        mask[:, :count] = True
        expected.append(
            squared_error(values.double(), mask, 2) + squared_error(values.double(), ~mask, 2)
        )
    torch.testing.assert_close(column_errors(values, 49), torch.stack(expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize("signed", [True, False])
def test_split_errors_from_prefix_sums_are_those_of_the_masks(saliency, signed):
    values = saliency - saliency.mean() if signed else saliency
    values[:, ::7] = 0.0
    thresholds = torch.cat(
        [torch.zeros(1), values.abs().flatten().sort().values[50::97], values.abs().max()[None] * 2]
    )
    expected = []
    for threshold in thresholds:
        high = values.abs() >= threshold
        expected.append(
            squared_error(values.double(), high, 1) + squared_error(values.double(), ~high, 1)
        )
    torch.testing.assert_close(split_errors(values, thresholds), torch.stack(expected))


def test_groups_are_disjoint_cover_the_block_and_one_to_49_columns_are_salient():
    weight, inputs = synthetic_layer(out=32, inner=128)
    saliency = weight.square() * inputs.square().mean(dim=0)
    salient = search_salient_columns(saliency, 50)
    sparse = search_split(saliency, salient)
    assert 1 <= int(salient.sum()) <= 49
    assert not (sparse & salient).any()
    assert 0 < int(sparse.sum()) < sparse.numel()


def test_the_released_split_ends_at_the_edge_of_its_grid_on_long_tailed_saliency():
    weight, inputs = synthetic_layer(out=64, inner=128)
    torch.manual_seed(0)
    weight = torch.distributions.StudentT(4.0).sample(weight.shape)
    saliency = weight.square() * inputs.square().mean(dim=0)
    salient = search_salient_columns(saliency, 50)
    assert search_split(saliency, salient).float().mean() == pytest.approx(0.10, abs=0.002)


@pytest.mark.parametrize("inner", [1, 129])
def test_a_block_of_a_single_column_is_all_salient(inner):
    weight, inputs = synthetic_layer(out=16, inner=inner, tokens=400)
    packed = BiLLM()(weight, stats_of(inputs))
    assert int(np.unpackbits(packed.salient.numpy(), bitorder="little")[inner - 1]) == 1
    assert torch.isfinite(packed.dequantize()).all()


def test_rows_without_a_masked_entry_contribute_nothing():
    mean, scale, _ = binarize(torch.randn(3, 8), torch.zeros(3, 8, dtype=torch.bool))
    assert not mean.any()
    assert not scale.any()


def test_paper_bits_are_measured_and_not_assumed():
    weight, inputs = synthetic_layer(out=32, inner=256)
    packed = BiLLM()(weight, stats_of(inputs))
    salient = int(np.unpackbits(packed.salient.numpy()).sum())
    assert packed.paper_bits == 1 + salient / 256
    assert 2 <= salient <= 98
