"""The table of scores against measured damage."""

from __future__ import annotations

from reports.records.measurements import Orders
from reports.report.studies.study import Study


def correlations(measured: Orders) -> Study:
    """How well each score ranks the blocks by damage, and which orders choose the same blocks."""
    order = {name: " ".join(map(str, blocks)) for name, blocks in measured.orders.items()}
    rows = [
        (name, f"{c.rho:+.2f} [{c.low:+.2f}, {c.high:+.2f}]", order[name])
        for name, c in measured.correlations.items()
    ]
    rows.append(("damage", "", order["damage"]))
    rows += [
        (f"{a} and {b}", f"same blocks at k = {', '.join(map(str, ks))}", "")
        for a, b, ks in measured.same_sets
        if ks
    ]
    text = (
        "Spearman's rank correlation of each score with measured damage: how much the loss on"
        f" {measured.answers} held-out answers rises when only that block is quantized with"
        f" {measured.low}. Intervals resample blocks and answers. Where two orders choose the same"
        " blocks they make the same model; pairs that are not listed do so only where k is zero or"
        " all blocks."
    )
    head = ("score", "correlation", "order of the blocks")
    return Study("Scores against measured damage", text, "", head, rows)
