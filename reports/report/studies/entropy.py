"""The figure and table of entropies by depth."""

from __future__ import annotations

from collections.abc import Sequence

from reports.records.measurements import Entropy
from reports.report.figures import Curve, curves_svg
from reports.report.studies.study import Study


def entropy_by_depth(entropies: Sequence[Entropy]) -> Study:
    """Entropy of every block, and the order of the blocks that follows."""
    several_alphas = len({entropy.alpha for entropy in entropies}) > 1
    curves, rows = [], []
    for entropy in entropies:
        label = _label(entropy, several_alphas)
        means = [sum(seeds) / len(seeds) for seeds in entropy.bits]
        points = [
            (i, mean, min(seeds), max(seeds))
            for i, (mean, seeds) in enumerate(zip(means, entropy.bits, strict=True))
        ]
        curves.append(Curve(label, points, "-"))
        order = sorted(range(len(means)), key=lambda i: (means[i], i))
        rows.append(
            (label, str(entropy.clusters), f"{entropy.seed_tau:.2f}", " ".join(map(str, order)))
        )
    text = (
        "Entropy of each block's activations under K-means, in bits: mean and range over seeds. Tau"
        " is the mean rank correlation between the orders of two seeds; the order begins with the"
        " block that gets the low-bit method first."
    )
    svg = curves_svg(curves, "decoder block", "entropy, bits", integers=True)
    head = ("tokens", "K", "tau between seeds", "order of the blocks")
    return Study("Entropy by depth", text, svg, head, rows)


def _label(entropy: Entropy, several_alphas: bool) -> str:
    label = f"{entropy.of_tokens} tokens, {entropy.at}"
    label += f", without the largest {entropy.drop:.1%}" if entropy.drop else ""
    label += f", init {entropy.init}" if entropy.init != "k-means++" else ""
    return label + (f", alpha {entropy.alpha:g}" if several_alphas else "")
