"""Scores of a model's decoder blocks, each measured once and kept in the store."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness import digest
from harness.block_entropy import mean_entropies
from harness.calibration_data import prompt_text
from harness.errors import ConfigError
from harness.models import LoadedModel
from harness.schema import CalibrationConfig
from harness.sources import image_text_source
from luq.allocation.orders import Measures
from luq.allocation.scores import block_influence, layer_error
from luq.apply import applied
from luq.quantizers import describe_quantizer
from luq.types import Plan, Quantizer

if TYPE_CHECKING:
    from harness.variant import Workbench

HELD_OUT = 256  # questions behind a measured damage
BATCH = 32
SCORES_VERSION = 1
IGNORED = -100


def measures(bench: Workbench, low: Quantizer | None) -> Measures:
    """Every score that has to be measured, by name. low: the method that blocks would be quantized with."""

    def with_low(measure: Callable[[Workbench, Quantizer], Sequence[float]], name: str) -> list[float]:
        if low is None:
            raise ConfigError(f"method.order={name} depends on the low method; set method.low")
        return list(measure(bench, low))

    return {
        "entropy": lambda: mean_entropies(bench),
        "influence": lambda: _kept(bench, ["influence"], lambda: [block_influence(capture) for capture in bench.captures()]),
        "layer_error": lambda: with_low(_layer_errors, "layer_error"),
        "damage": lambda: with_low(_damages, "damage"),
    }


def damage_samples(bench: Workbench, low: Quantizer) -> Tensor:
    """(blocks, HELD_OUT) float64: how much the loss on each held-out answer rises when only that block is low."""
    key = ["damage", describe_quantizer(low), HELD_OUT, image_text_source(bench.calibration.image_text).identity]
    rows = _kept(bench, key, lambda: _measure_damage(bench, low).tolist())
    return torch.tensor(rows, dtype=torch.float64)


def _damages(bench: Workbench, low: Quantizer) -> list[float]:
    found: list[float] = damage_samples(bench, low).mean(dim=1).tolist()
    return found


def _layer_errors(bench: Workbench, low: Quantizer) -> list[float]:
    entries = bench.bank.plan_weights(_all(bench, low))
    family = bench.loaded.family
    return [layer_error(block, family, entries[i], bench.stats(i)) for i, block in enumerate(bench.loaded.blocks)]


def _all(bench: Workbench, low: Quantizer) -> Plan:
    return Plan(("low",) * len(bench.loaded.blocks), {"low": low})


def _measure_damage(bench: Workbench, low: Quantizer) -> Tensor:
    loaded = bench.loaded
    batches = _held_out(loaded, bench.calibration)
    entries = bench.bank.plan_weights(_all(bench, low))
    before = answer_losses(loaded, batches)
    rows = []
    for index, entry in entries.items():
        with applied(loaded.model, loaded.family, {index: entry}):
            rows.append(answer_losses(loaded, batches) - before)
    return torch.stack(rows)


def _held_out(loaded: LoadedModel, config: CalibrationConfig) -> list[dict[str, Tensor]]:
    """Batches of questions with their answers, right-padded; `labels` has the answer's tokens and IGNORED elsewhere."""
    samples = list(itertools.islice(image_text_source(config.image_text).answered(config.seed), HELD_OUT))
    if len(samples) < HELD_OUT:
        raise ConfigError(
            f"measured damage needs {HELD_OUT} held-out answers; calibration.image_text={config.image_text} keeps {len(samples)}"
        )
    batches = []
    for start in range(0, HELD_OUT, BATCH):
        part = samples[start : start + BATCH]
        prompts = [prompt_text(loaded, question, 1) for _, question, _ in part]
        ends = [f"{answer}{loaded.processor.tokenizer.eos_token}" for _, _, answer in part]
        images = [image for image, _, _ in part]
        texts = [prompt + end for prompt, end in zip(prompts, ends, strict=True)]
        inputs = loaded.processor(text=texts, images=images, padding=True, return_tensors="pt", padding_side="right")
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, end in enumerate(ends):
            length = int(inputs["attention_mask"][row].sum())
            size = len(loaded.processor.tokenizer(end, add_special_tokens=False)["input_ids"])
            labels[row, length - size : length] = inputs["input_ids"][row, length - size : length]
        batches.append({name: tensor.to(loaded.device) for name, tensor in inputs.items()} | {"labels": labels.to(loaded.device)})
    return batches


@torch.inference_mode()
def answer_losses(loaded: LoadedModel, batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """(questions,) float64: mean cross-entropy of each answer's tokens, in nats."""
    losses = []
    for batch in batches:
        labels = batch["labels"][:, 1:]
        logits = loaded.model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits[:, :-1].float()
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
        losses.append(each.sum(dim=1) / (labels != IGNORED).sum(dim=1))
    return torch.cat(losses).double().cpu()


def _kept(bench: Workbench, key: list[Any], measure: Callable[[], Any]) -> Any:
    """What was measured before for this model, calibration and key, or now."""
    return bench.store.kept("scores", digest.of_value([bench.origin, SCORES_VERSION, key]), measure)
