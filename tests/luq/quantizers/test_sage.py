"""The reconstruction of SAGE-PTQ: what its three bit counts say, and what its searches do."""

import pytest
import torch

from luq.pipelines.synthetic import synthetic_layer
from luq.quantizers.sage import SAGE
from luq.types import stored_bits


def relative_error(method, weight):
    return float(
        (method(weight, None).dequantize() - weight).square().sum() / weight.square().sum()
    )


@pytest.fixture(scope="module")
def weight():
    return synthetic_layer(out=128, inner=512)[0]


def test_the_claimed_bits_leave_out_most_of_what_is_stored(weight):
    packed = SAGE(clustering="kmeans", groups=8)(weight, None)
    assert packed.paper_bits < 1.3
    assert 3.9 < packed.entropy_coded_bits <= stored_bits(packed) < 5
    assert packed.paper_bits < packed.entropy_coded_bits


def test_more_groups_store_more_and_lose_less(weight):
    methods = [SAGE(clustering="kmeans", groups=g) for g in (2, 4, 8)]
    errors = [relative_error(m, weight) for m in methods]
    bits = [stored_bits(m(weight, None)) for m in methods]
    assert errors[0] > errors[1] > errors[2]
    assert bits[0] < bits[1] < bits[2]


def test_the_salient_share_lies_between_its_bounds(weight):
    share = SAGE(clustering="kmeans", groups=2)(weight, None).share
    assert 0.002 <= share <= 0.0501
    free = SAGE(clustering="kmeans", groups=2, bit_penalty=0.0)(weight, None).share
    assert free > share or free == pytest.approx(0.05, abs=0.002)


def test_salient_weights_are_the_farthest_from_the_mean(weight):
    packed = SAGE(clustering="kmeans", groups=4)(weight, None)
    salient = torch.zeros_like(weight, dtype=torch.bool)
    rows = torch.repeat_interleave(torch.arange(128), packed.counts.int().long())
    salient[rows, packed.columns.int().long()] = True
    distance = (weight - weight.mean()).abs()
    assert distance[salient].min() >= distance[~salient].max()


def test_spectral_groups_lose_no_more_than_a_few_per_cent_against_kmeans_of_the_same_number(weight):
    spectral, plain = (
        relative_error(SAGE(clustering=c, groups=4, sample=600), weight)
        for c in ("spectral", "kmeans")
    )
    assert spectral < 1.1 * plain


def test_options_out_of_range_are_refused():
    for options, reason in (
        ({"clustering": "x"}, "spectral or kmeans"),
        ({"groups": 1}, "groups is 1"),
        ({"salient_low": 0.2}, "must hold"),
    ):
        with pytest.raises(ValueError, match=reason):
            SAGE(**options)
