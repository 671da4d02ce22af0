"""Names of variants: short, and long enough to tell every variant of a store from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.records.results import Cell
from reports.report.lines import variant_label

Settings = Mapping[str, object]


def settings_of(cell: Cell) -> Settings:
    """What makes a variant beyond its label, by the key that sets it.

    Cells of earlier versions do not say everything: what they leave open is absent.
    """
    settings: dict[str, object] = {
        "low": cell.low,
        "high": cell.high,
        "alpha": cell.alpha,
        "seed": cell.calibration_seed,
    }
    for part, quantizer in (("low", cell.low_quantizer), ("high", cell.high_quantizer)):
        settings |= {f"{part}.{name}": value for name, value in (quantizer or {}).items()}
    if cell.candidates:
        settings["candidates"] = cell.candidates
    return settings | {f"calibration.{name}": value for name, value in cell.calibration.items()}


def agree(first: Settings, second: Settings) -> bool:
    """Whether nothing that both say differs."""
    return all(second[name] == value for name, value in first.items() if name in second)


def unique_label(cell: Cell, namesakes: Sequence[Cell]) -> str:
    """The variant's label with whatever distinguishes it from others of the same label.

    Args:
        cell: Of the variant.
        namesakes: All cells of its model and label.
    """
    label = variant_label(cell)
    if len({(other.low, other.high) for other in namesakes}) > 1:
        label += f" of {cell.high}" if cell.low == "none" else f" of {cell.low} and {cell.high}"
    if len({other.alpha for other in namesakes}) > 1:
        label += f", alpha {cell.alpha:g}"
    if len({other.calibration_seed for other in namesakes}) > 1:
        label += f", seed {cell.calibration_seed}"
    own = settings_of(cell)
    said = ("low", "high", "alpha", "seed")
    alike = [
        settings
        for settings in map(settings_of, namesakes)
        if all(settings[name] == own[name] for name in said)
    ]
    differing = [
        name
        for name, value in own.items()
        if any(settings.get(name, value) != value for settings in alike)
    ]
    return label + "".join(f", {name} {own[name]}" for name in differing)
