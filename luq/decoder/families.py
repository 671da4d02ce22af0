"""Model families as data: where the decoder blocks are and which linears of a block share an input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from luq.types import QuantizationError

_LLAMA_LINEARS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)


@dataclass(frozen=True)
class ScaleGroup:
    """AWQ's unit:

    `linears` with a common input get their columns scaled, the norm or linear `previous` that makes
    this input takes the inverse, and the output of `inspected` tells what rounding then costs.
    """

    previous: str
    linears: tuple[str, ...]
    inspected: str


_LLAMA_SCALES = (
    ScaleGroup(
        "input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn"
    ),
    ScaleGroup("self_attn.v_proj", ("self_attn.o_proj",), "self_attn.o_proj"),
    ScaleGroup("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"), "mlp"),
    ScaleGroup("mlp.up_proj", ("mlp.down_proj",), "mlp.down_proj"),
)
_LLAMA_UNCLIPPED = ("self_attn.q_proj", "self_attn.k_proj")


@dataclass(frozen=True)
class Family:
    """name: lmms-eval's prompts are chosen by it. text: dotted path of the language model; blocks:
    of its decoder blocks, a ModuleList.

    shared_inputs: linears of a block, grouped by common input. scale_groups: where AWQ may move
    scales; unclipped: linears whose weights it does not clip, because their product matters.
    input_norm: of a block, in front of its attention; final_norm: in `text`, behind the last block.
    Everything else (embeddings, norms, head, vision tower, projector) stays in full precision.
    """

    name: str
    text: str
    blocks: str
    shared_inputs: tuple[tuple[str, ...], ...] = _LLAMA_LINEARS
    scale_groups: tuple[ScaleGroup, ...] = _LLAMA_SCALES
    unclipped: tuple[str, ...] = _LLAMA_UNCLIPPED
    input_norm: str = "input_layernorm"
    final_norm: str = "norm"

    @property
    def linears(self) -> tuple[str, ...]:
        return tuple(name for group in self.shared_inputs for name in group)


FAMILIES: Mapping[str, Family] = {
    "llava": Family("llava", "model.language_model", "model.language_model.layers"),
    "qwen2_5_vl": Family("qwen2_5_vl", "model.language_model", "model.language_model.layers"),
    "llama": Family("llama", "model", "model.layers"),
    "qwen2": Family("qwen2", "model", "model.layers"),
}


def find_family(model: nn.Module) -> Family:
    """The family of a transformers model, after checking that its blocks hold exactly the linears
    the family names.

    Raises QuantizationError that lists what was found, before any work is done.
    """
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in FAMILIES:
        found = sorted(
            {
                type(m).__name__
                for m in model.modules()
                if isinstance(m, nn.ModuleList | nn.Linear) or "Layer" in type(m).__name__
            }
        )
        raise QuantizationError(
            f"unknown architecture {kind!r}: known are {', '.join(FAMILIES)}; the model is built of"
            f" {', '.join(found)}. Add a Family to luq/families.py that says where its decoder"
            " blocks are"
        )
    family = FAMILIES[kind]
    for index, block in enumerate(decoder_blocks(model, family)):
        # a PackedLinear, which stands on this module, is known by what it holds
        present = {
            name
            for name, module in block.named_modules()
            if isinstance(module, nn.Linear) or hasattr(module, "packed")
        }
        if present != set(family.linears):
            raise QuantizationError(
                f"{kind}: block {index} ({type(block).__name__}) should hold the linears"
                f" {sorted(family.linears)}; missing {sorted(set(family.linears) - present)},"
                f" unexpected {sorted(present - set(family.linears))}"
            )
    return family


def decoder_blocks(model: nn.Module, family: Family) -> nn.ModuleList:
    try:
        blocks = model.get_submodule(family.blocks)
    except AttributeError as error:
        children = ", ".join(name for name, _ in model.named_children())
        raise QuantizationError(
            f"{family.name}: no module {family.blocks}; the model has {children}"
        ) from error
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise QuantizationError(
            f"{family.name}: {family.blocks} should be a list of decoder blocks, it is"
            f" {type(blocks).__name__}"
        )
    return blocks


def block_linears(block: nn.Module, family: Family) -> dict[str, nn.Linear]:
    """The linears of one block by name, in the family's order.

    Raises QuantizationError for one that is packed already.
    """
    linears: dict[str, nn.Linear] = {}
    for name in family.linears:
        linear = block.get_submodule(name)
        if not isinstance(linear, nn.Linear):
            raise QuantizationError(
                f"{name} is a {type(linear).__name__}: it is quantized already; start from the"
                " full-precision model"
            )
        linears[name] = linear
    return linears
