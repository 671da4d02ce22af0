"""`make bench`: ratios of time, each of two ways to the same result measured in turn in one run;
the median of the pairs is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.memory import bench_memory
from bench.plain import plain_billm, plain_gptq, plain_search
from bench.sweep import bench_asking, bench_sweep
from luq.quantizers.billm_search import search_salient_columns, search_split
from luq.quantizers.registry import GPTQ, BiLLM
from luq.types import LayerStats, Quantizer

Plain = Callable[[Tensor, Tensor], Tensor]
SHARED = 3  # linears with a common input: q, k and v


def paired_ratio(
    plain: Callable[[], object], ours: Callable[[], object], repeats: int
) -> tuple[float, float, float]:
    """(median, smallest, largest) of seconds of `plain` over seconds of `ours`, pair by pair, after
    one warm-up of `ours`.
    """
    ours()
    ratios = []
    for _ in range(repeats):
        seconds = []
        for run in (plain, ours):
            began = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios), min(ratios), max(ratios)


def _tell(what: str, ratio: tuple[float, float, float], note: str = "") -> None:
    print(f"{what}: {ratio[0]:.1f} ({ratio[1]:.1f} to {ratio[2]:.1f}){note}", flush=True)


def bench_searches(repeats: int, device: str) -> None:
    for rows in (2048, 4096):
        torch.manual_seed(0)
        saliency = torch.distributions.StudentT(4.0).sample((rows, 128)).square().to(device)

        def batched(saliency: Tensor = saliency) -> tuple[Tensor, Tensor]:
            salient = search_salient_columns(saliency, 50)
            return salient, search_split(saliency, salient)

        plain, ours = plain_search(saliency), batched()
        same = torch.equal(plain[0], ours[0]) and float((plain[1] != ours[1]).float().mean()) < 1e-3
        ratio = paired_ratio(lambda s=saliency: plain_search(s), batched, repeats)  # type: ignore[misc]
        _tell(
            f"BiLLM's searches on {rows} x 128, one candidate at a time / order statistics",
            ratio,
            f", same result: {same}",
        )


def layer(size: int, device: str) -> tuple[Tensor, Tensor]:
    """(weight, Hessian), (size, size) each: heavy-tailed weights, inputs whose spectrum falls as in
    real activations.
    """
    torch.manual_seed(0)
    weight = torch.distributions.StudentT(6.0).sample((size, size)) * 0.02
    inputs = (
        torch.randn(2 * size, size)
        * torch.arange(1, size + 1) ** -0.35
        @ torch.linalg.qr(torch.randn(size, size))[0]
    )
    return weight.to(device), (inputs.T @ inputs / len(inputs)).to(device)


def bench_layers(repeats: int, device: str, sizes: tuple[int, ...]) -> None:
    """Whole quantizations of linears with a common input, factor and packing included on our side,
    where the plain loop has no packing.
    """
    # Scales in single precision, as in the published code: half precision would send BiLLM's later
    # blocks another way.
    methods: tuple[tuple[str, Quantizer, Plain], ...] = (
        ("GPTQ-4", GPTQ(4), lambda w, h: plain_gptq(w, h, 4)),
        ("BiLLM", BiLLM(scale_dtype="float32"), plain_billm),
    )
    for size in sizes:
        for name, method, plain in methods:
            _bench_layer(name, method, plain, *layer(size, device), repeats)


def _bench_layer(
    name: str, method: Quantizer, plain: Plain, weight: Tensor, hessian: Tensor, repeats: int
) -> None:
    def ours(count: int) -> None:
        stats = LayerStats(hessian, 1)
        for _ in range(count):
            method(weight, stats)

    def theirs(count: int) -> None:
        for _ in range(count):
            plain(weight, hessian)

    found, wanted = (
        method(weight, LayerStats(hessian, 1)).dequantize().to(weight.device),
        plain(weight, hessian),
    )
    errors = [float((((q - weight) @ hessian) * (q - weight)).sum()) for q in (found, wanted)]
    apart = float(((found - wanted).abs() > 1e-3 * weight.std()).float().mean())
    size = len(weight)
    note = f"; {apart:.2%} of weights differ, output error {errors[0] / errors[1] - 1:+.2%}"
    _tell(
        f"{name} on {size} x {size}, plain loop / ours",
        paired_ratio(lambda: theirs(1), lambda: ours(1), repeats),
        note,
    )
    ratio = paired_ratio(lambda: theirs(SHARED), lambda: ours(SHARED), -(-repeats // SHARED))
    _tell(f"{name} on {SHARED} x {size} x {size} with a common input, plain loop / ours", ratio)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs behind each ratio")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2048, 4096], help="of the square layers"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    print(
        f"{options.device}, {torch.get_num_threads()} threads; ratios of seconds, median (range) of"
        f" {options.repeats} pairs in one run"
    )
    bench_searches(options.repeats, options.device)
    bench_memory()
    bench_layers(options.repeats, options.device, tuple(options.sizes))
    bench_sweep(1)
    bench_asking(options.repeats)
