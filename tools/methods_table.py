"""`python -m tools.methods_table`: the README's table of methods, made from the registry.

`--write` puts it in its place.
"""

from __future__ import annotations

import argparse
import dataclasses

import torch

from harness.paths import ROOT
from luq.decoder.blocks import needs_calibration, needs_inputs
from luq.quantizers.registry import build_quantizer, quantizer_classes
from luq.types import LayerStats, QuantizedWeight, Quantizer, stored_bits

README = ROOT / "README.md"
BEGIN, END = (
    "<!-- methods: begin, made by python -m tools.methods_table --write -->",
    "<!-- methods: end -->",
)
SIZE = 1024
EXAMPLES: dict[str, tuple[dict[str, object], ...]] = {
    "gptq": ({"bits": 4}, {"bits": 3}, {"bits": 2}),
    "billm": ({"variant": "code"},),
    "sage": ({"clustering": "kmeans", "groups": 8},),
}


def table() -> str:
    """Markdown: every registered method with its paper, options, what it needs, and the bits of a
    SIZE x SIZE layer.
    """
    torch.manual_seed(0)
    weight = (torch.distributions.StudentT(6.0).sample((SIZE, SIZE)) * 0.02).bfloat16().float()
    inputs = torch.randn(2 * SIZE, SIZE) * torch.arange(1, SIZE + 1) ** -0.5
    stats = LayerStats(inputs.T @ inputs / len(inputs), len(inputs))
    lines = [
        "| method | paper | options and defaults | calibration | paper bits | stored bits |",
        "|---|---|---|---|---|---|",
    ]
    for name, cls in quantizer_classes().items():
        options = (
            ", ".join(f"`{field.name}={field.default}`" for field in dataclasses.fields(cls))
            or "none"
        )
        paper, stored = [], []
        for example in EXAMPLES.get(name, ({},)):
            packed: QuantizedWeight = build_quantizer(name, example)(weight, stats)
            label = "".join(
                f"{key}={value} " for key, value in example.items() if len(EXAMPLES[name]) > 1
            )
            paper.append(f"{label}{packed.paper_bits:.2f}")
            ideal = getattr(packed, "entropy_coded_bits", None)
            stored.append(
                f"{label}{stored_bits(packed):.3f}"
                + (f" ({ideal:.3f} with ids and positions entropy-coded)" if ideal else "")
            )
        needs = _calibration(build_quantizer(name, {}))
        lines.append(
            f"| `{name}` | {cls.paper} | {options} | {needs} | {'; '.join(paper)} | {'; '.join(stored)} |"
        )  # type: ignore[attr-defined]
    return "\n".join(lines)


def _calibration(quantizer: Quantizer) -> str:
    if needs_inputs(quantizer):
        return "inputs of a block"
    return "Hessian" if needs_calibration(quantizer) else "none"


def with_table(readme: str) -> str:
    """The README with its table made anew. Raises ValueError where it has no place for one."""
    before, _, rest = readme.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the README has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        README.write_text(with_table(README.read_text()))
    else:
        print(table())
