"""AWQ (Lin et al., MLSys 2024): scales that favour salient channels move from the weights into what
comes before; then rounding.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, BlockWeights, batched, watch_inputs
from luq.decoder.families import Family, ScaleGroup, block_linears
from luq.rounding.error_feedback import require_matrix
from luq.rounding.grids import SCALE_DTYPES, Grid, GridWeight, check_grid_options, round_to_grids
from luq.types import LayerStats, QuantizationError, QuantizedWeight

SCALE_STEPS = CLIP_STEPS = 20
SMALLEST_CLIP = 0.5  # the search ends before half of the largest magnitude
CLIP_TOKENS = 512
TOKENS = 65536  # 128 sequences of 512, as the published code takes
SMALLEST_STEP = 1e-5
SMALLEST_SCALE = 1e-4


@dataclass(frozen=True)
class AWQ:
    """bits: 2 to 8. group: columns that share a grid, -1 for the whole row; the last group of a row
    may be shorter.

    duo: weigh a channel's activations against its weights, as AutoAWQ does by default; llm-awq's
    form, the default here, has plain rounding among its candidates, so that a scale group's output
    error never rises. clip: search where to clip each group of weights.
    """

    method: ClassVar[str] = "awq"
    paper: ClassVar[str] = "Lin et al., MLSys 2024, arXiv 2306.00978"
    needs_stats: ClassVar[bool] = False
    needs_inputs: ClassVar[bool] = True
    bits: int = 4
    group: int = 128
    duo: bool = False
    clip: bool = True
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_grid_options(self.method, self.bits, self.group, self.scale_dtype)

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GridWeight:
        """Rounding on AWQ's grid alone: what is left to do once scales and clips are in the
        weights.
        """
        require_matrix(weight, self.method)
        dtype = SCALE_DTYPES[self.scale_dtype]
        return round_to_grids(
            weight.float(),
            self._group(weight),
            self._fit,
            bits=self.bits,
            symmetric=False,
            scale_dtype=dtype,
        )

    @torch.no_grad()
    def quantize_block(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> BlockWeights:
        """Search scales on the untouched block, apply them together, search clips, round.

        Raises QuantizationError naming a linear.
        """
        for name, linear in block_linears(block, family).items():
            try:
                require_matrix(linear.weight, self.method)
            except QuantizationError as error:
                raise QuantizationError(f"{name}: {error}") from error
        inputs = batched(_enough(inputs))
        working = self.transformed(block, family, inputs)
        before, after = dict(block.named_parameters()), dict(working.named_parameters())
        linears: dict[str, QuantizedWeight] = {}
        seen = _clip_inputs(working, family, inputs) if self.clip else {}
        for name, linear in block_linears(working, family).items():
            weight = linear.weight.float()
            if name in seen:
                weight = self._clipped(weight, seen[name])
            linears[name] = self(weight, None)
        packed = {f"{name}.weight" for name in linears}
        changed = {
            name: value
            for name, value in after.items()
            if name not in packed and not torch.equal(value, before[name])
        }
        return BlockWeights(
            linears, {name: value.detach().cpu().clone() for name, value in changed.items()}
        )

    @torch.no_grad()
    def transformed(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> nn.Module:
        """A copy of the block with the scales folded in: the same function, up to rounding of its
        floating-point type.
        """
        if not inputs:
            raise QuantizationError(
                "awq needs the block's calibration inputs and got none; run the calibration first"
            )
        working = copy.deepcopy(block)
        groups = [group for group in family.scale_groups if _foldable(working, group)]
        scales = [self._search_scale(working, group, inputs) for group in groups]
        for group, scale in zip(groups, scales, strict=True):
            _fold(working, group, scale)
        return working

    # ---------------------------------------------------------------------- scales
    def _search_scale(
        self, block: nn.Module, group: ScaleGroup, inputs: Sequence[BlockInput]
    ) -> Tensor:
        """(in,) float32: of the scales a^α (duo: a^α / w̄^(1-α)), α = 0, 0.05, ..., 0.95 and a the
        mean magnitude of the input channel, that with the smallest squared change of the inspected
        module's output.
        """
        module = block.get_submodule(group.inspected)
        linears = [_linear(block, name) for name in group.linears]
        calls, activity = _watch(block, module, linears[0], inputs)
        wanted = [_output(module, call) for call in calls]
        weights = [linear.weight.detach().clone() for linear in linears]
        spread = self._spread(torch.cat([w.float() for w in weights])) if self.duo else None
        best, chosen = float("inf"), None
        for step in range(SCALE_STEPS):
            scale = _candidate(activity, spread, step / SCALE_STEPS)
            for linear, weight in zip(linears, weights, strict=True):
                linear.weight.data = (self._rounded(weight.float() * scale) / scale).to(
                    weight.dtype
                )
            loss = sum(
                float((_output(module, call) - out).float().square().sum())
                for call, out in zip(calls, wanted, strict=True)
            )
            if loss < best:
                best, chosen = loss, scale
        for linear, weight in zip(linears, weights, strict=True):
            linear.weight.data = weight
        if chosen is None:
            raise QuantizationError(
                f"{group.linears[0]}: awq finds no scale with a finite output error; look at its"
                " inputs"
            )
        return chosen

    def _spread(self, weight: Tensor) -> Tensor:
        """(in,): mean over rows of |w| / max |w| of its group."""
        parts = [part.abs() for part in weight.split(self._group(weight), dim=1)]
        return torch.cat(
            [part / part.amax(dim=1, keepdim=True).clamp(min=1e-6) for part in parts], dim=1
        ).mean(dim=0)

    # ---------------------------------------------------------------------- clips
    def _clipped(self, weight: Tensor, inputs: Tensor) -> Tensor:
        """The weight with each group of each row cut at the share of its largest magnitude, 1,
        0.95, ..., 0.55, of least output error of that group alone. inputs: (tokens, in).
        """
        parts = weight.split(self._group(weight), dim=1)
        seen = inputs.split(self._group(weight), dim=1)
        return torch.cat(
            [self._clip_group(part, x) for part, x in zip(parts, seen, strict=True)], dim=1
        )

    def _clip_group(self, weight: Tensor, inputs: Tensor) -> Tensor:
        gram = inputs.T @ inputs
        largest = weight.abs().amax(dim=1, keepdim=True)
        best, chosen = torch.full_like(largest, float("inf")), weight
        for step in range(int(CLIP_STEPS * SMALLEST_CLIP)):
            bound = largest * (1 - step / CLIP_STEPS)
            clipped = weight.clamp(-bound, bound)
            grid = self._fit(clipped)
            change = grid.value(grid.codes(clipped)) - weight
            error = ((change @ gram) * change).sum(dim=1, keepdim=True)
            chosen = torch.where(error < best, clipped, chosen)
            best = torch.minimum(error, best)
        return chosen

    # ---------------------------------------------------------------------- grid
    def _rounded(self, weight: Tensor) -> Tensor:
        """What `self(weight)` would compute with, unpacked."""
        parts = weight.split(self._group(weight), dim=1)
        return torch.cat(
            [
                grid.value(grid.codes(part))
                for grid, part in ((self._fit(part), part) for part in parts)
            ],
            dim=1,
        )

    def _group(self, weight: Tensor) -> int:
        return weight.shape[1] if self.group == -1 else self.group

    def _fit(self, weight: Tensor) -> Grid:
        """AWQ's grid of each row: from smallest to largest weight, zero included or not; the zero
        point is cut to the codes.
        """
        low, high = weight.amin(dim=1, keepdim=True), weight.amax(dim=1, keepdim=True)
        top = 2**self.bits - 1
        dtype = SCALE_DTYPES[self.scale_dtype]
        scale = (
            ((high - low).clamp(min=SMALLEST_STEP) / top)
            .to(dtype)
            .float()
            .clamp(min=torch.finfo(dtype).tiny)
        )
        if not bool(torch.isfinite(scale).all()):
            raise QuantizationError(
                f"awq: a scale does not fit into {dtype}; use scale_dtype=float32"
            )
        return Grid(scale, (-torch.round(low / scale)).clamp(0, top), top)


def _candidate(activity: Tensor, spread: Tensor | None, alpha: float) -> Tensor:
    """(in,) scales whose largest and smallest have the product 1."""
    scale = activity**alpha
    if spread is not None:
        scale = scale / (spread ** (1 - alpha) + SMALLEST_SCALE)
    scale = scale.clamp(min=SMALLEST_SCALE)
    scale = scale / (scale.max() * scale.min()).sqrt()
    return torch.where(torch.isfinite(scale), scale, 1.0)


def _foldable(block: nn.Module, group: ScaleGroup) -> bool:
    """Whether each input channel of the linears is one channel of what comes before.

    With grouped-query attention it is not: several heads of o_proj's input repeat one of v_proj's,
    and the group is left out, as in the published code.
    """
    previous, linear = block.get_submodule(group.previous), block.get_submodule(group.linears[0])
    return not isinstance(previous, nn.Linear) or previous.out_features == linear.in_features


def _fold(block: nn.Module, group: ScaleGroup, scale: Tensor) -> None:
    for name, parameter in block.get_submodule(group.previous).named_parameters(recurse=False):
        shaped = scale[:, None] if name == "weight" and parameter.ndim == 2 else scale
        parameter.data = (parameter.float() / shaped).to(parameter.dtype)
    for name in group.linears:
        weight = _linear(block, name).weight
        weight.data = (weight.float() * scale).to(weight.dtype)


def _linear(block: nn.Module, name: str) -> nn.Linear:
    linear = block.get_submodule(name)
    assert isinstance(linear, nn.Linear), name
    return linear


def _enough(inputs: Sequence[BlockInput]) -> list[BlockInput]:
    """The first sequences with TOKENS tokens: a linear's inputs and outputs are all held in memory
    at once.
    """
    counts = itertools.accumulate(given.state.shape[1] for given in inputs)
    return [
        given
        for given, count in zip(inputs, counts, strict=True)
        if count - given.state.shape[1] < TOKENS
    ]


Call = tuple[tuple[Any, ...], dict[str, Any]]


def _watch(
    block: nn.Module, module: nn.Module, linear: nn.Module, inputs: Sequence[BlockInput]
) -> tuple[list[Call], Tensor]:
    """The module's arguments on each batch, and the mean magnitude of each input channel of the
    linear: (in,) float32.
    """
    calls: list[Call] = []
    sums: list[Tensor] = []

    def measure(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        flat = args[0].reshape(-1, args[0].shape[-1]).float()
        sums.append(torch.cat([flat.abs().sum(dim=0), flat.new_tensor([len(flat)])]))

    def keep(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    def both(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        measure(args, kwargs)
        keep(args, kwargs)

    watch_inputs(
        block, inputs, {linear: both} if module is linear else {linear: measure, module: keep}
    )
    total = torch.stack(sums).sum(dim=0)
    return calls, total[:-1] / total[-1]


def _output(module: nn.Module, call: Call) -> Tensor:
    args, kwargs = call
    result = module(*args, **kwargs)
    output: Tensor = result[0] if isinstance(result, tuple) else result
    return output


def _clip_inputs(
    block: nn.Module, family: Family, inputs: Sequence[BlockInput]
) -> dict[str, Tensor]:
    """Evenly spaced inputs, at most CLIP_TOKENS, of each linear that is clipped:

    (tokens, in) float32.
    """
    linears = block_linears(block, family)
    total = sum(given.state.shape[1] for given in inputs)
    stride = -(-total // CLIP_TOKENS)
    kept: dict[str, list[Tensor]] = {}

    def keep(names: list[str]) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
        seen = 0

        def watcher(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
            nonlocal seen
            flat = args[0].reshape(-1, args[0].shape[-1])
            for name in names:
                kept.setdefault(name, []).append(flat[-seen % stride :: stride].float())
            seen += len(flat)

        return watcher

    groups = [
        [name for name in group if name not in family.unclipped] for group in family.shared_inputs
    ]
    watch_inputs(block, inputs, {linears[names[0]]: keep(names) for names in groups if names})
    return {name: torch.cat(parts) for name, parts in kept.items()}
