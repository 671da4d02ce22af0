"""Entropy of every decoder block's activations, measured in one pass and stored block by block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from harness.config.schema import EntropyConfig
from harness.errors import ConfigError
from harness.store import digest
from harness.variants.calibration_run import CalibrationRun
from luq.calibration.capture import BlockCapture
from luq.calibration.entropy import cluster_entropy, without_largest
from luq.calibration.stability import StableClusters, rank_changes, stable_clusters
from luq.decoder.streaming import moved_to

VERSION = 1  # of the measurement; part of every key
KIND = "entropy"


def block_entropies(run: CalibrationRun, config: EntropyConfig) -> list[list[float]]:
    """Entropy of every block's activations.

    Args:
        run: The model and its calibration data.
        config: How entropy is measured.

    Returns:
        [block][seed], in bits.

    Raises:
        ConfigError: There are more clusters than tokens, or none of the tokens asked for.
    """
    (entropies,) = _measured(run, [entropy_settings(run, config)])
    return entropies


def mean_entropies(run: CalibrationRun, config: EntropyConfig) -> list[float]:
    """Mean over seeds of every block's entropy, in bits: the score behind the order `entropy`.

    Raises:
        ConfigError: As `block_entropies` does.
    """
    return [sum(values) / len(values) for values in block_entropies(run, config)]


def stability(
    run: CalibrationRun, config: EntropyConfig
) -> tuple[list[list[list[float]]], list[float], StableClusters]:
    """How the ranking of the blocks changes with the number of clusters.

    Args:
        run: The model and its calibration data.
        config: How entropy is measured; `grid` has the numbers of clusters.

    Returns:
        ([clusters][block][seed] in bits, distances between the rankings at consecutive numbers of
        clusters, the number that the rule chooses).
    """
    entropies = _measured(run, [replace(config, clusters=clusters) for clusters in config.grid])
    changes = rank_changes([list(zip(*blocks, strict=True)) for blocks in entropies])
    return entropies, changes, stable_clusters(config.grid, changes)


def entropy_settings(run: CalibrationRun, config: EntropyConfig) -> EntropyConfig:
    """The settings with a number of clusters; `stable` is replaced by the number it stands for.

    Raises:
        ConfigError: The ranking is stable at no number of the grid.
    """
    if config.clusters != "stable":
        return config
    *_, chosen = stability(run, config)
    if chosen.clusters is None:
        raise ConfigError(
            f"entropy.clusters=stable: {chosen.rule} on the grid {config.grid}; set"
            " entropy.clusters to a number"
        )
    return replace(config, clusters=chosen.clusters)


def _measured(run: CalibrationRun, settings: list[EntropyConfig]) -> list[list[list[float]]]:
    """[setting][block][seed]; what is missing in the store is measured in one pass."""
    blocks, store = range(len(run.loaded.blocks)), run.store
    keys = {
        (number, block): _key(run, setting, block)
        for number, setting in enumerate(settings)
        for block in blocks
    }
    if not all(store.has(KIND, key) for key in keys.values()):
        with store.claim(KIND, digest.of_value(run.origin)):
            missing = {place: key for place, key in keys.items() if not store.has(KIND, key)}
            _measure(run, settings, missing)
    entropies = [
        [store.load_value(KIND, keys[number, block]) for block in blocks]
        for number in range(len(settings))
    ]
    if all(all(entries) for entries in entropies):
        return entropies
    return _measured(run, settings)  # a damaged entry was set aside


def _measure(
    run: CalibrationRun, settings: list[EntropyConfig], missing: Mapping[tuple[int, int], str]
) -> None:
    """missing: key by (setting, block)."""
    blocks = {block for _, block in missing}
    for capture in run.captures(first=min(blocks)) if blocks else ():
        for number, setting in enumerate(settings):
            if (number, capture.index) in missing:
                _save(run, missing[number, capture.index], setting, capture)
        if capture.index == max(blocks):
            break
    run.finish_pass()


def _save(run: CalibrationRun, key: str, setting: EntropyConfig, capture: BlockCapture) -> None:
    run.store.cached(KIND, key, lambda: _entropies(run, setting, capture))


def _key(run: CalibrationRun, setting: EntropyConfig, block: int) -> str:
    parts = [
        setting.clusters,
        setting.seeds,
        setting.starts,
        setting.init,
        setting.at,
        setting.tokens,
        setting.drop,
    ]
    return digest.of_value([run.origin, VERSION, block, *parts])


def _entropies(run: CalibrationRun, setting: EntropyConfig, capture: BlockCapture) -> list[float]:
    """[seed], in bits, of one block."""
    states = without_largest(list(_states(run, setting, capture)), setting.drop)
    count, clusters = sum(map(len, states)), int(setting.clusters)
    if count < clusters:
        raise ConfigError(
            f"entropy.clusters={setting.clusters} needs as many tokens; calibration has {count} of"
            f" entropy.tokens={setting.tokens}. Raise calibration.tokens or lower entropy.clusters"
        )
    seeds = range(setting.seeds)
    return cluster_entropy(states, clusters, seeds, starts=setting.starts, init=setting.init)


@torch.inference_mode()
def _states(run: CalibrationRun, setting: EntropyConfig, capture: BlockCapture) -> Iterable[Tensor]:
    """(tokens, hidden) of every sequence: activations of the tokens that the setting names."""
    states = capture.outputs
    if setting.at == "input_norm":
        states = [block_input.state[0] for block_input in capture.inputs]
    norm, device = _norm(run, setting.at, capture.index), run.loaded.device
    image = getattr(run.loaded.model.config, "image_token_id", None)
    with moved_to(norm, device):  # that of a streamed block lies in a file
        for state, sequence in zip(states, run.data.sequences, strict=True):
            ids = sequence["input_ids"][0]
            is_image = torch.zeros_like(ids, dtype=torch.bool) if image is None else ids == image
            masks = {"all": torch.ones_like(is_image), "image": is_image, "text": ~is_image}
            yield norm(state.to(device))[masks[setting.tokens]]


def _norm(run: CalibrationRun, at: str, block: int) -> nn.Module:
    """What the residual stream passes before its entropy is measured."""
    loaded, family = run.loaded, run.loaded.family
    if at == "output":
        return nn.Identity()
    following = block if at == "input_norm" else block + 1
    if following < len(loaded.blocks):
        return loaded.blocks[following].get_submodule(family.input_norm)
    final: nn.Module = loaded.model.get_submodule(f"{family.text}.{family.final_norm}")
    return final
