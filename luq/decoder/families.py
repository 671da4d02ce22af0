"""Model families as data: where the decoder blocks are, and which linears share an input."""

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
    """Linears of a block that AWQ scales together. Names are dotted, relative to the block.

    Attributes:
        previous: norm or linear that produces the common input and takes the inverse scale.
        linears: linears with this input, whose columns are scaled.
        inspected: module whose output error decides the scale.
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
    """A family of models with the same module names.

    Only the linears of decoder blocks are quantized. Everything else (embeddings, norms, head,
    vision tower, projector) stays in full precision.

    Attributes:
        name: also selects the prompt format of lmms-eval.
        text: dotted path of the language model.
        blocks: dotted path of its decoder blocks, a ModuleList.
        shared_inputs: linears of a block, grouped by common input, in the order of computation.
        scale_groups: groups that AWQ may scale.
        unclipped: linears that AWQ does not clip (their outputs are multiplied).
        input_norm: norm before the attention, relative to a block.
        final_norm: norm after the last block, relative to `text`.
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
        """Names of all linears of a block."""
        return tuple(name for group in self.shared_inputs for name in group)


FAMILIES: Mapping[str, Family] = {
    "llava": Family("llava", "model.language_model", "model.language_model.layers"),
    "qwen2_5_vl": Family("qwen2_5_vl", "model.language_model", "model.language_model.layers"),
    "llama": Family("llama", "model", "model.layers"),
    "qwen2": Family("qwen2", "model", "model.layers"),
}


def find_family(model: nn.Module) -> Family:
    """Return the family of a transformers model, by its `config.model_type`.

    Raises:
        QuantizationError: The family is unknown, or a block does not hold exactly the linears of
            its family. The message lists the modules of the model.
    """
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in FAMILIES:
        module_types = sorted(
            {
                type(m).__name__
                for m in model.modules()
                if isinstance(m, nn.ModuleList | nn.Linear) or "Layer" in type(m).__name__
            }
        )
        raise QuantizationError(
            f"unknown architecture {kind!r}: known are {', '.join(FAMILIES)}; the model is built of"
            f" {', '.join(module_types)}. Add a Family to luq/decoder/families.py that says where"
            " its decoder blocks are"
        )
    family = FAMILIES[kind]
    for index, block in enumerate(decoder_blocks(model, family)):
        # A PackedLinear, defined in a module above this one, is recognized by its attribute.
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
    """Return the decoder blocks of a model.

    Raises:
        QuantizationError: They are not where the family says.
    """
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
    """Return the linears of one block by name, in the family's order.

    Raises:
        QuantizationError: One of them is packed already.
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
