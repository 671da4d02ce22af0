"""Scores of a model's decoder blocks, each measured once and kept in the store."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.config.schema import CalibrationConfig
from harness.data.sequences import prompt_text
from harness.data.sources import image_text_source
from harness.errors import ConfigError
from harness.models.load import LoadedModel
from harness.store import digest
from harness.variants.block_entropy import mean_entropies
from luq.allocation.orders import Measures
from luq.allocation.scores import block_influence, layer_error
from luq.calibration.capture import first_block_input
from luq.decoder.apply import applied
from luq.decoder.blocks import BlockInput, BlockWeights, run_block
from luq.quantizers.registry import describe_quantizer
from luq.types import Plan, QuantizationError, Quantizer

if TYPE_CHECKING:
    from harness.variants.calibration_run import Workbench

HELD_OUT = 256  # questions behind a measured damage
BATCH = 32
SCORES_VERSION = 3
IGNORED = -100


def measures(bench: Workbench, low: Quantizer | None) -> Measures:
    """Every score that has to be measured, by name. low: the method that blocks would be quantized
    with.
    """

    def with_low(
        measure: Callable[[Workbench, Quantizer], Sequence[float]], name: str
    ) -> list[float]:
        if low is None:
            raise ConfigError(f"method.order={name} depends on the low method; set method.low")
        return list(measure(bench, low))

    return {
        "entropy": lambda: mean_entropies(bench),
        "influence": lambda: _kept(
            bench, ["influence"], lambda: [block_influence(capture) for capture in bench.captures()]
        ),
        "layer_error": lambda: with_low(_layer_errors, "layer_error"),
        "damage": lambda: with_low(_damages, "damage"),
    }


def damage_samples(bench: Workbench, quantizer: Quantizer, score: str = "damage") -> Tensor:
    """(blocks, HELD_OUT) float64, in nats: what quantizing only that block does to each held-out
    answer. damage: how much its loss rises; divergence: how far its tokens' distributions move, as
    Kullback-Leibler divergence from the full-precision model's.
    """
    return torch.tensor(_rows(bench, quantizer, "block")[score], dtype=torch.float64)


def linear_damages(
    bench: Workbench, quantizer: Quantizer, score: str = "damage"
) -> list[dict[str, float]]:
    """[block][linear]: the same with only that linear quantized, a mean over the answers.

    Raises QuantizationError for a method that changes a block's norms too.
    """
    names = bench.loaded.family.linears
    rows = iter(_rows(bench, quantizer, "linear")[score])
    return [{name: statistics.fmean(next(rows)) for name in names} for _ in bench.loaded.blocks]


def _rows(bench: Workbench, quantizer: Quantizer, unit: str) -> dict[str, list[list[float]]]:
    key = [
        "damage",
        unit,
        describe_quantizer(quantizer),
        HELD_OUT,
        image_text_source(bench.calibration.image_text).identity,
    ]
    rows: dict[str, list[list[float]]] = _kept(
        bench, key, lambda: _measure_damage(bench, quantizer, unit)
    )
    return rows


def _damages(bench: Workbench, low: Quantizer) -> list[float]:
    found: list[float] = damage_samples(bench, low).mean(dim=1).tolist()
    return found


def _layer_errors(bench: Workbench, low: Quantizer) -> list[float]:
    found: list[float] = _kept(
        bench, ["layer_error", describe_quantizer(low)], lambda: _measure_layer_errors(bench, low)
    )
    return found


def _measure_layer_errors(bench: Workbench, low: Quantizer) -> list[float]:
    entries = bench.weights(_all(bench, low), "fp")
    blocks, family = bench.loaded.blocks, bench.loaded.family
    return [layer_error(blocks[i], family, entries[i], stats) for i, stats in bench.each_stats()]


def _all(bench: Workbench, low: Quantizer) -> Plan:
    return Plan(("low",) * len(bench.loaded.blocks), {"low": low})


@torch.inference_mode()
def _measure_damage(
    bench: Workbench, quantizer: Quantizer, unit: str
) -> dict[str, list[list[float]]]:
    """By score, a row for every block, or for every linear of every block.

    A pass starts at its block: what comes before is as it was.
    """
    loaded = bench.loaded
    entries = bench.weights(_all(bench, quantizer), "fp")
    batches = _held_out(loaded, bench.calibration)
    states = [
        first_block_input(
            loaded.model, loaded.family, {k: v for k, v in b.items() if k != "labels"}
        )
        for b in batches
    ]
    before = _answers_from(loaded, 0, states, batches)
    rows: dict[str, list[list[float]]] = {"damage": [], "divergence": []}
    for index, block in enumerate(loaded.blocks):
        for part in _parts(entries[index], unit):
            with applied(loaded.model, loaded.family, {index: part}):
                after = _answers_from(loaded, index, states, batches)
            rows["damage"].append((_losses(after, batches) - _losses(before, batches)).tolist())
            rows["divergence"].append(_divergences(before, after, batches).tolist())
        states = [
            BlockInput(run_block(block, given), given.context, given.device) for given in states
        ]
    return rows


def _parts(entry: BlockWeights, unit: str) -> list[BlockWeights]:
    if unit == "block":
        return [entry]
    if entry.changed:
        raise QuantizationError(
            f"a method that also changes {', '.join(sorted(entry.changed))} cannot be judged linear"
            " by linear"
        )
    return [BlockWeights({name: packed}) for name, packed in entry.linears.items()]


def _answers_from(
    loaded: LoadedModel,
    index: int,
    states: Sequence[BlockInput],
    batches: Sequence[Mapping[str, Tensor]],
) -> list[Tensor]:
    """Log-probabilities (answer tokens, vocabulary) of every batch, from what reaches block
    `index`.
    """
    norm = loaded.model.get_submodule(f"{loaded.family.text}.{loaded.family.final_norm}")
    found = []
    for given, batch in zip(states, batches, strict=True):
        state = given.state
        for block in loaded.blocks[index:]:
            state = run_block(block, BlockInput(state, given.context, given.device))
        answered = state[:, :-1][batch["labels"][:, 1:] != IGNORED]
        found.append(
            loaded.model.get_output_embeddings()(norm(answered)).float().log_softmax(dim=-1)
        )
    return found


def _losses(found: Sequence[Tensor], batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """(questions,) float64: mean cross-entropy of each answer's tokens."""
    labels = [batch["labels"][:, 1:] for batch in batches]
    each = [
        -logs.gather(1, ids[ids != IGNORED][:, None])[:, 0]
        for logs, ids in zip(found, labels, strict=True)
    ]
    return _by_question(each, batches)


def _divergences(
    before: Sequence[Tensor], after: Sequence[Tensor], batches: Sequence[Mapping[str, Tensor]]
) -> Tensor:
    """(questions,) float64: mean divergence over each answer's tokens."""
    return _by_question(
        [(p.exp() * (p - q)).sum(dim=1) for p, q in zip(before, after, strict=True)], batches
    )


def _by_question(each: Sequence[Tensor], batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Means over the answer tokens of each question."""
    means = []
    for values, batch in zip(each, batches, strict=True):
        answered = batch["labels"][:, 1:] != IGNORED
        sums = torch.zeros(len(answered), device=values.device).index_add_(
            0, answered.nonzero()[:, 0], values
        )
        means.append(sums / answered.sum(dim=1))
    return torch.cat(means).double().cpu()


def _held_out(loaded: LoadedModel, config: CalibrationConfig) -> list[dict[str, Tensor]]:
    """Batches of questions with their answers, right-padded; `labels` has the answer's tokens and
    IGNORED elsewhere.
    """
    samples = list(
        itertools.islice(image_text_source(config.image_text).answered(config.seed), HELD_OUT)
    )
    if len(samples) < HELD_OUT:
        raise ConfigError(
            f"measured damage needs {HELD_OUT} held-out answers;"
            f" calibration.image_text={config.image_text} keeps {len(samples)}"
        )
    batches = []
    for start in range(0, HELD_OUT, BATCH):
        part = samples[start : start + BATCH]
        prompts = [prompt_text(loaded, question, 1) for _, question, _ in part]
        ends = [f"{answer}{loaded.processor.tokenizer.eos_token}" for _, _, answer in part]
        images = [image for image, _, _ in part]
        texts = [prompt + end for prompt, end in zip(prompts, ends, strict=True)]
        inputs = loaded.processor(
            text=texts, images=images, padding=True, return_tensors="pt", padding_side="right"
        )
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, end in enumerate(ends):
            length = int(inputs["attention_mask"][row].sum())
            size = len(loaded.processor.tokenizer(end, add_special_tokens=False)["input_ids"])
            labels[row, length - size : length] = inputs["input_ids"][row, length - size : length]
        batches.append(
            {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
            | {"labels": labels.to(loaded.device)}
        )
    return batches


def _kept(bench: Workbench, key: list[Any], measure: Callable[[], Any]) -> Any:
    """What was measured before for this model, calibration and key, or now."""
    return bench.store.kept("scores", digest.of_value([bench.origin, SCORES_VERSION, key]), measure)
