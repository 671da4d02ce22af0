"""AWQ's two searches: scales of groups of linears, and clips of groups of weights.

Source: Lin et al., MLSys 2024, equations 4 and 5, and the code of llm-awq.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, Watcher, watch_inputs
from luq.decoder.families import Family, ScaleGroup, block_linears
from luq.rounding.grids import Grid
from luq.types import QuantizationError

SCALE_STEPS = CLIP_STEPS = 20
SMALLEST_CLIP = 0.5  # the search ends before half of the largest magnitude
CLIP_TOKENS = 512
SMALLEST_SCALE = 1e-4

Call = tuple[tuple[Any, ...], dict[str, Any]]


def search_scale(
    block: nn.Module,
    group: ScaleGroup,
    inputs: Sequence[BlockInput],
    rounded: Callable[[Tensor], Tensor],
    spread: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """Return the scale with the least squared change of the inspected module's output.

    Candidates are a^α for α = 0, 0.05, ..., 0.95 and a the mean magnitude of the input channel;
    with `spread`, a^α / w̄^(1-α).

    Args:
        block: its weights are the same before and after.
        group: linears that share the scale.
        inputs: the block's calibration inputs.
        rounded: rounds a weight (out, in).
        spread: gives w̄ (in,) of a weight (out, in).

    Returns:
        (in,) float32.

    Raises:
        QuantizationError: No candidate gives a finite output error.
    """
    module = block.get_submodule(group.inspected)
    linears = [_linear(block, name) for name in group.linears]
    calls, activity = _record_calls(block, module, linears[0], inputs)
    targets = [_output(module, call) for call in calls]
    weights = [linear.weight.detach().clone() for linear in linears]
    w_bar = spread(torch.cat([w.float() for w in weights])) if spread is not None else None
    least, best = float("inf"), None
    for step in range(SCALE_STEPS):
        scale = candidate(activity, w_bar, step / SCALE_STEPS)
        for linear, weight in zip(linears, weights, strict=True):
            linear.weight.data = (rounded(weight.float() * scale) / scale).to(weight.dtype)
        loss = sum(
            float((_output(module, call) - target).float().square().sum())
            for call, target in zip(calls, targets, strict=True)
        )
        if loss < least:
            least, best = loss, scale
    for linear, weight in zip(linears, weights, strict=True):
        linear.weight.data = weight
    if best is None:
        raise QuantizationError(
            f"{group.linears[0]}: awq finds no scale with a finite output error; look at its inputs"
        )
    return best


def candidate(activity: Tensor, spread: Tensor | None, alpha: float) -> Tensor:
    """Return the scale (in,) for one α, normalized so that its extremes have the product 1."""
    scale = activity**alpha
    if spread is not None:
        scale = scale / (spread ** (1 - alpha) + SMALLEST_SCALE)
    scale = scale.clamp(min=SMALLEST_SCALE)
    scale = scale / (scale.max() * scale.min()).sqrt()
    return torch.where(torch.isfinite(scale), scale, 1.0)


def foldable(block: nn.Module, group: ScaleGroup) -> bool:
    """Return whether each input channel of the linears is one channel of the previous module.

    With grouped-query attention it is not: several heads of o_proj's input repeat one of v_proj's.
    The published code leaves such a group out, too.
    """
    previous, linear = block.get_submodule(group.previous), block.get_submodule(group.linears[0])
    return not isinstance(previous, nn.Linear) or previous.out_features == linear.in_features


def fold(block: nn.Module, group: ScaleGroup, scale: Tensor) -> None:
    """Multiply the linears' columns by the scale (in,), and divide the previous module by it."""
    for name, parameter in block.get_submodule(group.previous).named_parameters(recurse=False):
        shaped = scale[:, None] if name == "weight" and parameter.ndim == 2 else scale
        parameter.data = (parameter.float() / shaped).to(parameter.dtype)
    for name in group.linears:
        weight = _linear(block, name).weight
        weight.data = (weight.float() * scale).to(weight.dtype)


def clip_group(weight: Tensor, inputs: Tensor, fit: Callable[[Tensor], Grid]) -> Tensor:
    """Clip each row at the share of its largest magnitude with the least output error.

    Shares are 1, 0.95, ..., 0.55. The error is that of this group of columns alone.

    Args:
        weight: (out, columns) float32.
        inputs: (tokens, columns) float32.
        fit: gives the grid of a clipped weight.
    """
    gram = inputs.T @ inputs
    largest = weight.abs().amax(dim=1, keepdim=True)
    least, best = torch.full_like(largest, float("inf")), weight
    for step in range(int(CLIP_STEPS * SMALLEST_CLIP)):
        bound = largest * (1 - step / CLIP_STEPS)
        clipped = weight.clamp(-bound, bound)
        grid = fit(clipped)
        change = grid.value(grid.codes(clipped)) - weight
        error = ((change @ gram) * change).sum(dim=1, keepdim=True)
        best = torch.where(error < least, clipped, best)
        least = torch.minimum(error, least)
    return best


def clip_inputs(
    block: nn.Module, family: Family, inputs: Sequence[BlockInput]
) -> dict[str, Tensor]:
    """Return evenly spaced inputs of each linear that is clipped.

    Returns:
        By linear, (tokens, in) float32 with at most CLIP_TOKENS tokens.
    """
    linears = block_linears(block, family)
    total = sum(one.state.shape[1] for one in inputs)
    stride = -(-total // CLIP_TOKENS)
    samples: dict[str, list[Tensor]] = {}

    def sample(names: list[str]) -> Watcher:
        seen = 0

        def watcher(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
            nonlocal seen
            flat = args[0].reshape(-1, args[0].shape[-1])
            for name in names:
                samples.setdefault(name, []).append(flat[-seen % stride :: stride].float())
            seen += len(flat)

        return watcher

    groups = [
        [name for name in group if name not in family.unclipped] for group in family.shared_inputs
    ]
    watch_inputs(block, inputs, {linears[names[0]]: sample(names) for names in groups if names})
    return {name: torch.cat(parts) for name, parts in samples.items()}


def _linear(block: nn.Module, name: str) -> nn.Linear:
    linear = block.get_submodule(name)
    assert isinstance(linear, nn.Linear), name
    return linear


def _record_calls(
    block: nn.Module, module: nn.Module, linear: nn.Linear, inputs: Sequence[BlockInput]
) -> tuple[list[Call], Tensor]:
    """Run the block; return the module's arguments for each batch, and a mean magnitude.

    The latter is that of each input channel of the linear, (in,) float32.
    """
    calls: list[Call] = []
    sums: list[Tensor] = []

    def measure(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        flat = args[0].reshape(-1, args[0].shape[-1]).float()
        sums.append(torch.cat([flat.abs().sum(dim=0), flat.new_tensor([len(flat)])]))

    def record(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    def both(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        measure(args, kwargs)
        record(args, kwargs)

    watch_inputs(
        block, inputs, {linear: both} if module is linear else {linear: measure, module: record}
    )
    total = torch.stack(sums).sum(dim=0)
    return calls, total[:-1] / total[-1]


def _output(module: nn.Module, call: Call) -> Tensor:
    args, kwargs = call
    result = module(*args, **kwargs)
    output: Tensor = result[0] if isinstance(result, tuple) else result
    return output
