import dataclasses

import pytest
import torch

from harness.config.schema import CalibrationConfig, EntropyConfig
from harness.errors import ConfigError
from harness.store.store import Store
from harness.variants.block_entropy import (
    block_entropies,
    entropy_settings,
    mean_entropies,
    stability,
)
from harness.variants.calibration_run import CalibrationRun
from luq.calibration.entropy import cluster_entropy, without_largest

SETTING = EntropyConfig(clusters=8, seeds=2)


def calibration_run(embedded, store, **calibration):
    settings = CalibrationConfig(**{"sequence": 64, "tokens": 600, **calibration})
    return CalibrationRun(embedded, settings, store)


@pytest.fixture(scope="module")
def run(embedded, tmp_path_factory):
    return calibration_run(embedded, Store(tmp_path_factory.mktemp("entropy")))


@pytest.fixture(scope="module")
def hidden(run, embedded):
    """hidden_states of one whole forward pass a sequence: [sequence][block]; the last is behind the
    final norm.
    """
    with torch.inference_mode():
        return [
            embedded.model(**s, output_hidden_states=True).hidden_states for s in run.data.sequences
        ]


def test_tokens_of_all_sequences_are_pooled(run, hidden):
    assert block_entropies(run, SETTING)[2] == pytest.approx(
        cluster_entropy([states[3][0] for states in hidden], 8, range(2)), abs=1e-4
    )


@pytest.mark.parametrize("kind", ["image", "text"])
def test_image_and_text_tokens_can_be_looked_at_alone(run, hidden, embedded, kind):
    token = embedded.model.config.image_token_id
    masks = [(s["input_ids"][0] == token) == (kind == "image") for s in run.data.sequences]
    alone = [states[3][0][mask] for states, mask in zip(hidden, masks, strict=True)]
    found = block_entropies(run, dataclasses.replace(SETTING, tokens=kind))
    assert found[2] == pytest.approx(cluster_entropy(alone, 8, range(2)), abs=1e-4)


def test_the_norm_in_front_of_a_block_and_the_one_behind_it_can_be_looked_at(run, hidden, embedded):
    before, behind = (
        block_entropies(run, dataclasses.replace(SETTING, at=at))
        for at in ("input_norm", "output_norm")
    )
    norm = embedded.blocks[3].input_layernorm
    assert before[3] == pytest.approx(
        cluster_entropy([norm(states[3][0]) for states in hidden], 8, range(2)), abs=1e-4
    )
    assert behind[2] == before[3]
    assert behind[7] == pytest.approx(
        cluster_entropy([states[-1][0] for states in hidden], 8, range(2)), abs=1e-4
    )


def test_the_tokens_of_largest_norm_can_be_left_out(run, hidden):
    kept = without_largest([states[3][0] for states in hidden], 0.05)
    found = block_entropies(run, dataclasses.replace(SETTING, drop=0.05))
    assert found[2] == pytest.approx(cluster_entropy(kept, 8, range(2)), abs=1e-4)


def test_what_was_measured_is_kept_block_by_block(run, embedded, monkeypatch):
    first = block_entropies(run, SETTING)
    damaged = sorted((run.store.root / "entropy").glob("*/value.json"))
    counted = []
    monkeypatch.setattr(
        "harness.variants.block_entropy.cluster_entropy",
        lambda *a, **k: counted.append(1) or cluster_entropy(*a, **k),
    )
    assert block_entropies(calibration_run(embedded, run.store), SETTING) == first
    assert counted == []
    fresh = Store(run.store.root.parent / "killed")
    halfway = calibration_run(embedded, fresh)
    monkeypatch.setattr(
        "harness.variants.block_entropy.cluster_entropy",
        lambda *a, **k: (
            pytest.fail("killed")
            if len(list((fresh.root / "entropy").glob("*"))) == 3
            else cluster_entropy(*a, **k)
        ),
    )
    with pytest.raises(pytest.fail.Exception):
        block_entropies(halfway, SETTING)
    monkeypatch.setattr(
        "harness.variants.block_entropy.cluster_entropy",
        lambda *a, **k: counted.append(1) or cluster_entropy(*a, **k),
    )
    assert block_entropies(calibration_run(embedded, fresh), SETTING) == first
    assert len(counted) == 5
    damaged[0].write_text("{")
    assert block_entropies(calibration_run(embedded, run.store), SETTING) == first


def test_more_clusters_than_tokens_and_tokens_that_are_not_there_are_refused(run, embedded, store):
    with pytest.raises(
        ConfigError,
        match=(
            r"entropy\.clusters=900 needs as many tokens; calibration has 6\d\d of"
            r" entropy\.tokens=all"
        ),
    ):
        block_entropies(run, dataclasses.replace(SETTING, clusters=900))
    with pytest.raises(ConfigError, match=r"calibration has 0 of entropy\.tokens=image"):
        block_entropies(
            calibration_run(embedded, store, alpha=0.0),
            dataclasses.replace(SETTING, tokens="image"),
        )


def test_the_stable_number_of_clusters_is_the_one_the_curve_shows(run):
    setting = EntropyConfig(clusters="stable", seeds=2, grid=[4, 8, 12, 16, 20])
    found, changes, chosen = stability(run, setting)
    assert (len(found), len(found[0]), len(found[0][0]), len(changes)) == (5, 8, 2, 4)
    assert found[1] == block_entropies(run, SETTING)
    if chosen.clusters is None:
        with pytest.raises(ConfigError, match="no elbow"):
            entropy_settings(run, setting)
    else:
        assert entropy_settings(run, setting).clusters == chosen.clusters in setting.grid
    assert mean_entropies(run, SETTING) == [
        sum(values) / 2 for values in block_entropies(run, SETTING)
    ]
