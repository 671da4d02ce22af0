"""`python -m bench`, its part on quantizers: our GPTQ and BiLLM versus plain loops."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from bench.plain import plain_billm, plain_gptq, plain_search
from bench.ratios import paired_ratio
from luq import GPTQ, BiLLM
from luq.quantizers.billm_search import search_salient_columns, search_split
from luq.types import LayerStats, Quantizer

Plain = Callable[[Tensor, Tensor], Tensor]
SHARED = 3  # linears with a common input: q, k and v


def bench_searches(repeats: int, device: str) -> None:
    """Print the ratio for BiLLM's two searches, and whether both sides choose the same.

    Args:
        repeats: Pairs of runs behind each ratio.
        device: Of the weights, `cpu` or `cuda`.
    """
    for rows in (2048, 4096):
        torch.manual_seed(0)
        saliency = torch.distributions.StudentT(4.0).sample((rows, 128)).square().to(device)
        plain, ours = plain_search(saliency), _search(saliency)
        same = torch.equal(plain[0], ours[0]) and float((plain[1] != ours[1]).float().mean()) < 1e-3
        ratio = paired_ratio(
            functools.partial(plain_search, saliency), functools.partial(_search, saliency), repeats
        )
        print(
            f"BiLLM's searches on {rows} x 128, one candidate at a time / order statistics:"
            f" {ratio}, same result: {same}",
            flush=True,
        )


def _search(saliency: Tensor) -> tuple[Tensor, Tensor]:
    salient = search_salient_columns(saliency, 50)
    return salient, search_split(saliency, salient)


def synthetic_linear(size: int, device: str) -> tuple[Tensor, Tensor]:
    """A square linear like a trained one, from a fixed seed.

    Args:
        size: Rows and columns.
        device: Of both tensors.

    Returns:
        Its weight and the Hessian of its inputs, (size, size) float32 each: heavy-tailed weights,
        inputs whose spectrum falls as in real activations.
    """
    torch.manual_seed(0)
    weight = torch.distributions.StudentT(6.0).sample((size, size)) * 0.02
    inputs = (
        torch.randn(2 * size, size)
        * torch.arange(1, size + 1) ** -0.35
        @ torch.linalg.qr(torch.randn(size, size))[0]
    )
    return weight.to(device), (inputs.T @ inputs / len(inputs)).to(device)


def bench_linears(repeats: int, device: str, sizes: tuple[int, ...]) -> None:
    """Print the ratios for quantizing one linear, and several with a common input.

    Our side factorizes the Hessian and packs the weights; the plain loop does not pack.

    Args:
        repeats: Pairs of runs behind each ratio.
        device: Of the weights.
        sizes: Of the square linears.
    """
    # Scales in single precision, as in the published code: half precision would send BiLLM's later
    # blocks another way.
    methods: tuple[tuple[str, Quantizer, Plain], ...] = (
        ("GPTQ-4", GPTQ(4), lambda weight, hessian: plain_gptq(weight, hessian, 4)),
        ("BiLLM", BiLLM(scale_dtype="float32"), plain_billm),
    )
    for size in sizes:
        weight, hessian = synthetic_linear(size, device)
        for name, quantizer, plain in methods:
            _bench_linear(name, quantizer, plain, weight, hessian, repeats)


def _bench_linear(
    name: str, quantizer: Quantizer, plain: Plain, weight: Tensor, hessian: Tensor, repeats: int
) -> None:
    def run_ours(count: int) -> None:
        stats = LayerStats(hessian, 1)
        for _ in range(count):
            quantizer(weight, stats)

    def run_plain(count: int) -> None:
        for _ in range(count):
            plain(weight, hessian)

    size = len(weight)
    ratio = paired_ratio(lambda: run_plain(1), lambda: run_ours(1), repeats)
    print(
        f"{name} on {size} x {size}, plain loop / ours: {ratio};"
        f" {_difference(quantizer, plain, weight, hessian)}",
        flush=True,
    )
    ratio = paired_ratio(lambda: run_plain(SHARED), lambda: run_ours(SHARED), -(-repeats // SHARED))
    print(
        f"{name} on {SHARED} x {size} x {size} with a common input, plain loop / ours: {ratio}",
        flush=True,
    )


def _difference(quantizer: Quantizer, plain: Plain, weight: Tensor, hessian: Tensor) -> str:
    """How far the results of both sides are from each other."""
    ours = quantizer(weight, LayerStats(hessian, 1)).dequantize().to(weight.device)
    expected = plain(weight, hessian)
    errors = [output_error(result, weight, hessian) for result in (ours, expected)]
    differing = float(((ours - expected).abs() > 1e-3 * weight.std()).float().mean())
    return f"{differing:.2%} of weights differ, output error {errors[0] / errors[1] - 1:+.2%}"


def output_error(result: Tensor, weight: Tensor, hessian: Tensor) -> float:
    """Squared change of a linear's output: trace of (W' - W) H (W' - W)^T.

    Args:
        result: Quantized weight W', (out, in).
        weight: Full-precision weight W, (out, in).
        hessian: Mean of x x^T over the inputs, (in, in).
    """
    change = result - weight
    return float(((change @ hessian) * change).sum())
