"""`python -m tools.methods_table --write`: tables of methods and options, made from the registry.

They go between two markers of docs/methods.md, or of the page that is named. Without `--write` they
are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from harness.paths import ROOT
from luq.decoder.blocks import needs_calibration, needs_inputs
from luq.quantizers.registry import build_quantizer, quantizer_classes
from luq.types import LayerStats, QuantizedWeight, Quantizer, stored_bits

PAGE = ROOT / "docs" / "methods.md"
BEGIN = "<!-- methods: begin, made by python -m tools.methods_table --write -->"
END = "<!-- methods: end -->"
SIZE = 1024  # rows and columns of the layer whose bits are counted
Options = Mapping[str, object]
# Options whose bits are shown instead of the defaults'.
EXAMPLES: Mapping[str, tuple[Options, ...]] = {
    "gptq": ({"bits": 4}, {"bits": 3}, {"bits": 2}),
    "billm": ({"variant": "code"},),
    "sage": ({"clustering": "kmeans", "groups": 8},),
}


def table() -> str:
    """Two tables in Markdown: a row for every registered method, and one for every option."""
    return "\n".join(
        [
            "| method | paper | options and defaults | calibration | paper bits | stored bits |",
            "|---|---|---|---|---|---|",
            *_rows(),
            "",
            "| option | of | meaning |",
            "|---|---|---|",
            *_option_rows(),
        ]
    )


def _option_rows() -> Iterator[str]:
    methods: dict[tuple[str, str], list[str]] = {}
    for name, cls in quantizer_classes().items():
        for option, meaning in _meanings(cls).items():
            methods.setdefault((option, meaning), []).append(f"`{name}`")
    for (option, meaning), names in sorted(methods.items()):
        yield f"| `{option}` | {', '.join(names)} | {meaning} |"


def _meanings(cls: type) -> dict[str, str]:
    """What the docstring says of each option, under `Attributes:`."""
    attributes = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2].split("\n\n")[0]
    found = re.findall(r"^    (\w+): ((?:.+\n?)(?:     +.+\n?)*)", attributes, re.M)
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: " ".join(text.split()) for name, text in found if name in names}


def _rows() -> Iterator[str]:
    weight, stats = _layer()
    for name, cls in quantizer_classes().items():
        examples = EXAMPLES.get(name, ({},))
        paper, stored = [], []
        for options in examples:
            packed = build_quantizer(name, options)(weight, stats)
            label = "".join(f"{key}={value} " for key, value in options.items())
            if len(examples) == 1:
                label = ""
            paper.append(f"{label}{packed.paper_bits:.2f}")
            stored.append(f"{label}{_stored_text(packed)}")
        cells = [
            f"`{name}`",
            getattr(cls, "paper", ""),
            _options(cls),
            _calibration(build_quantizer(name, {})),
            "; ".join(paper),
            "; ".join(stored),
        ]
        yield f"| {' | '.join(cells)} |"


def _options(cls: type) -> str:
    return ", ".join(f"`{f.name}={f.default}`" for f in dataclasses.fields(cls)) or "none"


def _layer() -> tuple[Tensor, LayerStats]:
    """A heavy-tailed weight, and inputs whose spectrum falls, from a fixed seed."""
    torch.manual_seed(0)
    weight = (torch.distributions.StudentT(6.0).sample((SIZE, SIZE)) * 0.02).bfloat16().float()
    inputs = torch.randn(2 * SIZE, SIZE) * torch.arange(1, SIZE + 1) ** -0.5
    return weight, LayerStats(inputs.T @ inputs / len(inputs), len(inputs))


def _stored_text(packed: QuantizedWeight) -> str:
    bits = f"{stored_bits(packed):.3f}"
    ideal: float | None = getattr(packed, "entropy_coded_bits", None)
    return f"{bits} ({ideal:.3f} with ids and positions entropy-coded)" if ideal else bits


def _calibration(quantizer: Quantizer) -> str:
    if needs_inputs(quantizer):
        return "inputs of a block"
    return "Hessian" if needs_calibration(quantizer) else "none"


def with_table(page: str) -> str:
    """A page with its table replaced by the registry's.

    Raises:
        ValueError: The page lacks the markers.
    """
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no place for the table; add the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    """Write the table into its page, or print it."""
    parser = argparse.ArgumentParser(prog="python -m tools.methods_table", description=__doc__)
    parser.add_argument(
        "--write", type=Path, nargs="?", const=PAGE, metavar="PAGE", help="docs/methods.md if empty"
    )
    page: Path | None = parser.parse_args().write
    if page is None:
        print(table())
    else:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
