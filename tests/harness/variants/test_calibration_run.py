import pytest
import torch

from harness.config.compose import compose
from harness.config.schema import CalibrationConfig
from harness.data.sequences import collect
from harness.store.store import Store
from harness.variants import calibration_run
from harness.variants.calibration_run import CalibrationRun, claim_all, open_run
from luq.calibration.capture import capture_blocks

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def test_statistics_of_every_mix_equal_a_direct_capture_and_each_source_is_captured_once(
    embedded, store, monkeypatch
):
    captured = []
    monkeypatch.setattr(
        calibration_run,
        "capture_blocks",
        lambda *a: captured.append(sum(map(len, a[2]))) or capture_blocks(*a),
    )
    configs = {alpha: CalibrationConfig(alpha=alpha, tokens=512, sequence=64) for alpha in ALPHAS}
    sequences = {a: collect(embedded, config).sequences for a, config in configs.items()}
    for alpha, config in configs.items():
        run = CalibrationRun(embedded, config, store)
        direct = list(capture_blocks(embedded.model, embedded.family, [sequences[alpha]]))
        for block in (0, 7):
            for name, layer in direct[block].stats[0].items():
                stats = run.stats(block)[name]
                assert stats.tokens == layer.tokens
                torch.testing.assert_close(stats.hessian, layer.hessian, rtol=1e-4, atol=1e-6)
    # one capture of each source for five alphas
    assert sum(captured) == len(sequences[0.0]) + len(sequences[1.0])


def test_a_capture_stores_the_statistics_on_the_way(narrow_run, monkeypatch):
    run = CalibrationRun(narrow_run.loaded, CalibrationConfig(tokens=256), narrow_run.store)
    captures = list(run.captures())
    monkeypatch.setattr(calibration_run, "capture_blocks", lambda *_: pytest.fail("captured again"))
    for block, stats in run.each_stats():
        parts = captures[block].stats
        for name, layer in stats.items():
            assert layer.tokens == sum(part[name].tokens for part in parts)


def test_statistics_that_are_damaged_are_captured_again(narrow, store):
    run = CalibrationRun(narrow, CalibrationConfig(tokens=256), store)
    before = run.stats(2)
    for path in (store.root / "stats").glob("*/*.safetensors"):
        path.write_bytes(b"")
    again = run.stats(2)
    assert all(torch.equal(again[name].hessian, before[name].hessian) for name in before)
    assert list((store.root / "corrupt").iterdir())


def test_pictures_of_the_calibration_data_are_stored_with_their_part(narrow, store, monkeypatch):
    config = CalibrationConfig(alpha=0.5, tokens=512)
    pictures = CalibrationRun(narrow, config, store).calibration_pictures()
    assert pictures == {
        picture for part in collect(narrow, config).pictures.values() for picture in part
    }
    monkeypatch.setattr(calibration_run, "collect", lambda *_: pytest.fail("drawn again"))
    assert CalibrationRun(narrow, config, store).calibration_pictures() == pictures
    assert not CalibrationRun(
        narrow, CalibrationConfig(alpha=0.0, tokens=512), store
    ).calibration_pictures()


def test_a_run_is_opened_by_its_configuration(narrow_model, tmp_path):
    config = compose(
        [f"model.path={narrow_model}", f"store={tmp_path / 'runs'}", "calibration.tokens=300"]
    )
    run = open_run(config)
    assert run.store.root == tmp_path / "runs"
    assert run.calibration.tokens == 300
    assert len(run.loaded.blocks) == 4
    model, calibration = run.origin.split("/")
    assert model.startswith(run.loaded.digest)
    assert calibration


def test_claims_of_several_entries_are_taken_in_one_order(tmp_path, monkeypatch):
    taken, store, real = [], Store(tmp_path / "runs"), Store.claim
    monkeypatch.setattr(Store, "claim", lambda self, *a: taken.append(a) or real(self, *a))
    with claim_all(store, "bank", ["c", "a", "b", "a"]):
        assert len(list((store.root / "claims").iterdir())) == 3
    assert taken == [("bank", "a"), ("bank", "b"), ("bank", "c")]
    assert not list((store.root / "claims").iterdir())
