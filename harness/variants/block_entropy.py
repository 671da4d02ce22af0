"""Entropy of every decoder block's activations: measured as the blocks stream by, kept block by
block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.config.schema import EntropyConfig
from harness.errors import ConfigError
from harness.store import digest
from luq.calibration.capture import BlockCapture
from luq.calibration.entropy import cluster_entropy, without_largest
from luq.calibration.stability import StableClusters, rank_changes, stable_clusters

if TYPE_CHECKING:
    from harness.variants.calibration_run import Workbench

VERSION = 1
KIND = "entropy"


def block_entropies(bench: Workbench, config: EntropyConfig) -> list[list[float]]:
    """[block][seed] in bits.

    Raises ConfigError for more clusters than tokens and for tokens that the calibration does not
    have.
    """
    (found,) = _measured(bench, [entropy_settings(bench, config)])
    return found


def mean_entropies(bench: Workbench) -> list[float]:
    """Over seeds, of each block: the score behind the order `entropy`."""
    return [sum(values) / len(values) for values in block_entropies(bench, bench.entropy_config)]


def stability(
    bench: Workbench, config: EntropyConfig
) -> tuple[list[list[list[float]]], list[float], StableClusters]:
    """([K][block][seed] in bits, distance between the rankings at consecutive K of the grid, the K
    that the rule chooses).
    """
    found = _measured(bench, [replace(config, clusters=clusters) for clusters in config.grid])
    changes = rank_changes([list(zip(*blocks, strict=True)) for blocks in found])
    return found, changes, stable_clusters(config.grid, changes)


def entropy_settings(bench: Workbench, config: EntropyConfig) -> EntropyConfig:
    """The settings with a number of clusters; where they ask for the stable one, it is found first."""
    if config.clusters != "stable":
        return config
    *_, chosen = stability(bench, config)
    if chosen.clusters is None:
        raise ConfigError(
            f"entropy.clusters=stable: {chosen.rule} on the grid {config.grid}; set"
            " entropy.clusters to a number"
        )
    return replace(config, clusters=chosen.clusters)


def _measured(bench: Workbench, settings: list[EntropyConfig]) -> list[list[list[float]]]:
    """[setting][block][seed]; whatever is missing in the store is measured in one pass over the
    calibration data.
    """
    blocks = range(len(bench.loaded.blocks))
    keys = {
        (number, block): _key(bench, setting, block)
        for number, setting in enumerate(settings)
        for block in blocks
    }
    if not all(bench.store.has(KIND, key) for key in keys.values()):
        with bench.store.claimed(KIND, digest.of_value(bench.origin)):
            _measure(
                bench,
                settings,
                {place: key for place, key in keys.items() if not bench.store.has(KIND, key)},
            )
    found = [
        [bench.store.read_value(KIND, keys[number, block]) for block in blocks]
        for number in range(len(settings))
    ]
    return (
        found if all(all(entries) for entries in found) else _measured(bench, settings)
    )  # a damaged entry was set aside


def _measure(
    bench: Workbench, settings: list[EntropyConfig], missing: Mapping[tuple[int, int], str]
) -> None:
    """missing: key by (setting, block)."""
    blocks = {block for _, block in missing}
    for capture in bench.captures(first=min(blocks)) if blocks else ():
        for number, setting in enumerate(settings):
            if (number, capture.index) in missing:
                _keep(bench, missing[number, capture.index], setting, capture)
        if capture.index == max(blocks):
            break
    bench.finish_pass()


def _keep(bench: Workbench, key: str, setting: EntropyConfig, capture: BlockCapture) -> None:
    bench.store.kept(KIND, key, lambda: _entropies(bench, setting, capture))


def _key(bench: Workbench, setting: EntropyConfig, block: int) -> str:
    parts = [
        setting.clusters,
        setting.seeds,
        setting.starts,
        setting.init,
        setting.at,
        setting.tokens,
        setting.drop,
    ]
    return digest.of_value([bench.origin, VERSION, block, *parts])


def _entropies(bench: Workbench, setting: EntropyConfig, capture: BlockCapture) -> list[float]:
    kept = without_largest(list(_tokens(bench, setting, capture)), setting.drop)
    count = sum(map(len, kept))
    if count < int(setting.clusters):
        raise ConfigError(
            f"entropy.clusters={setting.clusters} needs as many tokens; calibration has {count} of"
            f" entropy.tokens={setting.tokens}. Raise calibration.tokens or lower entropy.clusters"
        )
    return cluster_entropy(
        kept, int(setting.clusters), range(setting.seeds), starts=setting.starts, init=setting.init
    )


@torch.inference_mode()
def _tokens(bench: Workbench, setting: EntropyConfig, capture: BlockCapture) -> Iterable[Tensor]:
    """(tokens, hidden) of every sequence."""
    states = (
        [given.state[0] for given in capture.inputs]
        if setting.at == "input_norm"
        else capture.outputs
    )
    norm = _norm(bench, setting.at, capture.index)
    image = getattr(bench.loaded.model.config, "image_token_id", None)
    for state, sequence in zip(states, bench.data.sequences, strict=True):
        ids = sequence["input_ids"][0]
        is_image = ids == image if image is not None else torch.zeros_like(ids, dtype=torch.bool)
        wanted = {"all": torch.ones_like(is_image), "image": is_image, "text": ~is_image}[
            setting.tokens
        ]
        yield norm(state.to(bench.loaded.device))[wanted]


def _norm(bench: Workbench, at: str, block: int) -> Any:
    """What the residual stream passes before it is looked at."""
    loaded, family = bench.loaded, bench.loaded.family
    if at == "output":
        return torch.nn.Identity()
    following = block if at == "input_norm" else block + 1
    if following < len(loaded.blocks):
        return loaded.blocks[following].get_submodule(family.input_norm)
    return loaded.model.get_submodule(f"{family.text}.{family.final_norm}")
