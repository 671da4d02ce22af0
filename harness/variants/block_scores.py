"""Scores of a model's decoder blocks, each measured once and stored."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.config.schema import CalibrationConfig, EntropyConfig
from harness.data.image_text_sources import image_text_source
from harness.errors import ConfigError
from harness.models.load import LoadedModel
from harness.models.prompt import prompt_text
from harness.store import digest
from harness.variants.block_entropy import mean_entropies
from harness.variants.calibration_run import CalibrationRun
from harness.variants.weights import WeightSource
from luq.allocation.orders import Measures
from luq.allocation.plan import Plan
from luq.allocation.scores import block_influence, layer_error
from luq.calibration.capture import first_block_input
from luq.decoder.apply import applied
from luq.decoder.blocks import BlockInput, BlockWeights, run_block
from luq.quantizers.registry import quantizer_identity
from luq.types import QuantizationError, Quantizer

HELD_OUT = 256  # answers behind a measured damage
BATCH = 32
SCORES_VERSION = 3  # of the measurements; part of every key
IGNORED = -100


def measures(
    run: CalibrationRun, source: WeightSource, low: Quantizer | None, entropy: EntropyConfig
) -> Measures:
    """Every score of blocks that has to be measured, as a function of no arguments.

    Args:
        run: The model and its calibration data.
        source: Where blocks come from that were calibrated on full-precision inputs.
        low: The low-bit method, on which some scores depend.
        entropy: How entropy is measured.

    Returns:
        By name of the score. A score that depends on the low method raises ConfigError where there
        is none.
    """

    def with_low(name: str, measure: Callable[[Quantizer], Sequence[float]]) -> Sequence[float]:
        if low is None:
            raise ConfigError(f"method.order={name} depends on the low method; set method.low")
        return measure(low)

    return {
        "entropy": lambda: mean_entropies(run, entropy),
        "influence": lambda: _influences(run),
        "layer_error": lambda: with_low("layer_error", lambda q: _layer_errors(run, source, q)),
        "damage": lambda: with_low("damage", lambda q: _mean_damages(run, source, q)),
    }


def damage_samples(
    run: CalibrationRun, source: WeightSource, quantizer: Quantizer, score: str = "damage"
) -> Tensor:
    """What quantizing a single block does to each held-out answer.

    Args:
        run: The model and its calibration data.
        source: Where blocks come from that were calibrated on full-precision inputs.
        quantizer: What the block is quantized with.
        score: `damage`: how much the answer's loss rises. `divergence`: the Kullback-Leibler
            divergence of its tokens' distributions from those of the full-precision model.

    Returns:
        (blocks, HELD_OUT) float64, in nats per token.
    """
    return torch.tensor(_rows(run, source, quantizer, "block")[score], dtype=torch.float64)


def linear_damages(
    run: CalibrationRun, source: WeightSource, quantizer: Quantizer, score: str = "damage"
) -> list[dict[str, float]]:
    """What quantizing a single linear does, a mean over the held-out answers; see `damage_samples`.

    Returns:
        [block][linear], in nats per token.

    Raises:
        QuantizationError: The method changes a block's norms too.
    """
    names = run.loaded.family.linears
    rows = iter(_rows(run, source, quantizer, "linear")[score])
    return [{name: statistics.fmean(next(rows)) for name in names} for _ in run.loaded.blocks]


def _rows(
    run: CalibrationRun, source: WeightSource, quantizer: Quantizer, unit: str
) -> dict[str, list[list[float]]]:
    """[score][block, or linear of every block][held-out answer]."""
    answers = image_text_source(run.calibration.image_text).identity
    key = ["damage", unit, quantizer_identity(quantizer), HELD_OUT, answers]
    rows: dict[str, list[list[float]]] = _cached(
        run, key, lambda: _measure_damage(run, source, quantizer, unit)
    )
    return rows


def _influences(run: CalibrationRun) -> list[float]:
    influences: list[float] = _cached(
        run, ["influence"], lambda: [block_influence(capture) for capture in run.captures()]
    )
    return influences


def _mean_damages(run: CalibrationRun, source: WeightSource, low: Quantizer) -> list[float]:
    means: list[float] = damage_samples(run, source, low).mean(dim=1).tolist()
    return means


def _layer_errors(run: CalibrationRun, source: WeightSource, low: Quantizer) -> list[float]:
    key = ["layer_error", quantizer_identity(low)]
    errors: list[float] = _cached(run, key, lambda: _measure_layer_errors(run, source, low))
    return errors


def _measure_layer_errors(run: CalibrationRun, source: WeightSource, low: Quantizer) -> list[float]:
    entries = source.weights(_all(run, low))
    blocks, family = run.loaded.blocks, run.loaded.family
    return [layer_error(blocks[i], family, entries[i], stats) for i, stats in run.each_stats()]


def _all(run: CalibrationRun, quantizer: Quantizer) -> Plan:
    return Plan(("low",) * len(run.loaded.blocks), {"low": quantizer})


@torch.inference_mode()
def _measure_damage(
    run: CalibrationRun, source: WeightSource, quantizer: Quantizer, unit: str
) -> dict[str, list[list[float]]]:
    """`_rows`, measured. A pass starts at its block: what comes before it is as it was."""
    loaded = run.loaded
    entries = source.weights(_all(run, quantizer))
    batches = _held_out(loaded, run.calibration)
    states = [_first_input(loaded, batch) for batch in batches]
    before = _answers_from(loaded, 0, states, batches)
    rows: dict[str, list[list[float]]] = {"damage": [], "divergence": []}
    for index, block in enumerate(loaded.blocks):
        for part in _parts(entries[index], unit):
            with applied(loaded.model, loaded.family, {index: part}):
                after = _answers_from(loaded, index, states, batches)
            rows["damage"].append((_losses(after, batches) - _losses(before, batches)).tolist())
            rows["divergence"].append(_divergences(before, after, batches).tolist())
        states = [
            BlockInput(run_block(block, state), state.context, state.device) for state in states
        ]
    return rows


def _first_input(loaded: LoadedModel, batch: Mapping[str, Tensor]) -> BlockInput:
    arguments = {name: tensor for name, tensor in batch.items() if name != "labels"}
    return first_block_input(loaded.model, loaded.family, arguments)


def _parts(entry: BlockWeights, unit: str) -> list[BlockWeights]:
    """What is quantized at a time: the block, or each of its linears."""
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
    """Log-probabilities (answer tokens, vocabulary) of every batch, from its states in front of
    block `index`.
    """
    norm = loaded.model.get_submodule(f"{loaded.family.text}.{loaded.family.final_norm}")
    answers = []
    for start, batch in zip(states, batches, strict=True):
        state = start.state
        for block in loaded.blocks[index:]:
            state = run_block(block, BlockInput(state, start.context, start.device))
        answered = state[:, :-1][batch["labels"][:, 1:] != IGNORED]
        answers.append(
            loaded.model.get_output_embeddings()(norm(answered)).float().log_softmax(dim=-1)
        )
    return answers


def _losses(answers: Sequence[Tensor], batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """(questions,) float64: mean cross-entropy of each answer's tokens."""
    labels = [batch["labels"][:, 1:] for batch in batches]
    each = [
        -logs.gather(1, ids[ids != IGNORED][:, None])[:, 0]
        for logs, ids in zip(answers, labels, strict=True)
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
            f" calibration.image_text={config.image_text} leaves {len(samples)}"
        )
    return [_batch(loaded, samples[start : start + BATCH]) for start in range(0, HELD_OUT, BATCH)]


def _batch(loaded: LoadedModel, samples: Sequence[tuple[Any, str, str]]) -> dict[str, Tensor]:
    """samples: (image, question, answer)."""
    tokenizer = loaded.processor.tokenizer
    ends = [f"{answer}{tokenizer.eos_token}" for _, _, answer in samples]
    texts = [
        prompt_text(loaded.processor, question, 1) + end
        for (_, question, _), end in zip(samples, ends, strict=True)
    ]
    inputs = loaded.processor(
        text=texts,
        images=[image for image, _, _ in samples],
        padding=True,
        return_tensors="pt",
        padding_side="right",
    )
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    for row, end in enumerate(ends):
        stop = int(inputs["attention_mask"][row].sum())
        start = stop - len(tokenizer(end, add_special_tokens=False)["input_ids"])
        labels[row, start:stop] = inputs["input_ids"][row, start:stop]
    return {name: tensor.to(loaded.device) for name, tensor in {**inputs, "labels": labels}.items()}


def _cached(run: CalibrationRun, key: list[Any], measure: Callable[[], Any]) -> Any:
    """The stored value of this model, calibration and key, measured where it is missing."""
    whole_key = digest.of_value([run.origin, SCORES_VERSION, key])
    return run.store.cached("scores", whole_key, measure)
