"""The tracker `wandb`: an offline run can be read back by W&B's own reader."""

import http.server
import json
import socket
import threading
import urllib.request

import pytest

from harness.trackers import wandb as tracker_of_wandb
from harness.trackers.base import Run
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


@pytest.fixture
def with_key(tmp_path, monkeypatch):
    """W&B with a key, and nothing else of this machine; returns how to name its server."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    tracker_of_wandb._must_be_offline.cache_clear()
    yield lambda url: monkeypatch.setenv("WANDB_BASE_URL", url)
    tracker_of_wandb._must_be_offline.cache_clear()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_key_without_a_way_to_the_server_records_offline_after_one_attempt(
    tmp_path, with_key, monkeypatch
):
    with_key(f"http://127.0.0.1:{closed_port()}")
    attempts, real = [], urllib.request.urlopen
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda *a, **o: attempts.append(a) or real(*a, **o)
    )
    for number in range(2):
        run = Run(f"id{number}", "name", "group", "report", {})
        tracker = tracker_of_wandb.open_tracker(run, tmp_path / "tracking", "project")
        tracker.scalars({"score": 0.5})
        tracker.finish()
    assert len(attempts) == 1
    assert len([one for one in wandb_records(tmp_path / "tracking") if one.HasField("run")]) >= 2


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_that_answers_anything_is_used(with_key, status):
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with_key(f"http://127.0.0.1:{server.server_port}")
        assert not tracker_of_wandb._must_be_offline()
        server.shutdown()
