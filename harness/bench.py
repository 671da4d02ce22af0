"""`make bench`: ratios of time, each of two ways to the same result measured in turn in one run; the median of the pairs is printed."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from harness.evaluate import evaluate_suite, load_suites, mini_data
from harness.lmms_model import LuqModel
from harness.models import load_model
from harness.store import Store
from luq.quantizers.billm import SPLIT_QUANTILES, binarize, search_salient_columns, search_split

REPEATS = 5


def paired_ratio(plain: Callable[[], object], ours: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float, float]:
    """(median, smallest, largest) of seconds of `plain` over seconds of `ours`, pair by pair, after one warm-up of each."""
    ratios = []
    for number in range(repeats + 1):
        seconds = []
        for run in (plain, ours):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        if number:
            ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios), min(ratios), max(ratios)


def _rebuilt(values: Tensor, mask: Tensor, order: int) -> Tensor:
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
        error = float((saliency - _rebuilt(saliency, mask, 2) - _rebuilt(saliency, ~mask, 2)).square().mean())
        if error < best:
            best, salient = error, chosen
    magnitude = torch.where(salient, 0.0, saliency.abs())
    thresholds = torch.quantile(magnitude.double(), torch.tensor(SPLIT_QUANTILES, dtype=torch.float64)).float()
    best, sparse = float("inf"), torch.zeros_like(magnitude, dtype=torch.bool)
    for threshold in thresholds:
        high = (magnitude >= threshold) & ~salient
        low = ~high & ~salient
        error = float((torch.where(salient, 0.0, saliency) - _rebuilt(saliency, high, 1) - _rebuilt(saliency, low, 1)).square().mean())
        if error < best:
            best, sparse = error, high
    return salient, sparse


def bench_billm() -> None:
    for rows in (256, 2048):
        torch.manual_seed(0)
        saliency = torch.distributions.StudentT(4.0).sample((rows, 128)).square()

        def batched(saliency: Tensor = saliency) -> tuple[Tensor, Tensor]:
            salient = search_salient_columns(saliency, 50)
            return salient, search_split(saliency, salient)

        plain, ours = plain_search(saliency), batched()
        same = torch.equal(plain[0], ours[0]) and float((plain[1] != ours[1]).float().mean()) < 1e-3
        ratio, low, high = paired_ratio(lambda s=saliency: plain_search(s), batched)  # type: ignore[misc]
        print(f"BiLLM's searches on {rows} x 128: plain loop / batched = {ratio:.1f} ({low:.1f} to {high:.1f}), same result: {same}")


def bench_batches() -> None:
    loaded = load_model("mini", "mini", "float32", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        suite = load_suites("mini", ("mini_gqa",), loaded.family.name, mini_data(store))["mini_gqa"]
        runs = iter(range(1000))

        def ask(size: int) -> None:
            lm = LuqModel(loaded=loaded, batch_size=size)
            evaluate_suite(store, lm, suite, variant=str(next(runs)), limit=64, max_error_share=0.0)

        ratio, low, high = paired_ratio(lambda: ask(1), lambda: ask(64), repeats=3)
    print(f"64 questions of GQA: one at a time / in batches of 64 = {ratio:.1f} ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    print(f"{torch.get_num_threads()} threads; ratios of seconds, median (range) of pairs in one run")
    bench_billm()
    bench_batches()
