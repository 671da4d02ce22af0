"""The tracker `wandb`: an offline run can be read back by W&B's own reader."""

import json

import pytest

from tests.harness.trackers.test_guarded import PLAIN


def wandb_records(folder):
    """The records of an offline run, by W&B's own reader of its files."""
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        store = DataStore()
        store.open_for_scan(str(path))
        while (data := store.scan_data()) is not None:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            found.append(record)
    return found


def test_an_offline_wandb_run_can_be_read_back_and_is_taken_up_again_by_its_id(
    run, tmp_path, narrow_model, monkeypatch
):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    both = [f"model.path={narrow_model}", "tracker=wandb", "suite.tasks=[mini_gqa,mini_pope]"]
    code, text = run(*PLAIN, *both, "+sweep=first_look", 'hydra.sweeper.variants=["method=gptq4"]')
    assert code == 0, text
    folder = tmp_path / "runs" / "tracking" / "wandb"
    found = wandb_records(folder)
    opened = {record.run.job_type: record.run for record in found if record.HasField("run")}
    assert set(opened) >= {"evaluate", "report"}
    assert opened["evaluate"].run_group == "first_look"
    assert opened["evaluate"].project == "luq-harness"
    settings = {item.key: json.loads(item.value_json) for item in opened["evaluate"].config.update}
    assert settings["method.high.bits"] == 4
    history = {
        item.key or "/".join(item.nested_key): item.value_json
        for r in found
        if r.HasField("history")
        for item in r.history.item
    }
    low, score, high = (
        float(history[f"mini_gqa/exact_match{part}"]) for part in ("_low", "", "_high")
    )
    assert low <= score <= high
    assert float(history["stored_bits"]) == pytest.approx(4.156, abs=0.01)
    assert "mini_pope/pope_mean_f1" in history
    assert history["blocks/_type"] == '"table-file"'
    assert history["Score against size/_type"] == '"html-file"'
    assert run(*PLAIN, *both, "method=gptq4", "limit=10")[0] == 0
    assert len(list(folder.glob("wandb/offline-run-*"))) > 2
