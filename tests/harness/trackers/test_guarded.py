"""The guard: no failure of a tracker fails a run, and no secret reaches one."""

import pytest

from harness.trackers.guarded import Guarded, flat

SMALL = [
    "suite=mini_gqa",
    "limit=8",
    "method=luq",
    "method.k=1",
    "calibration.tokens=512",
    "entropy.clusters=8",
    "entropy.seeds=2",
]

PLAIN = SMALL[:2] + SMALL[4:]


@pytest.mark.parametrize("where", ["open", "scalars", "finish"])
def test_r29_a_tracker_that_fails_is_reported_and_fails_nothing(
    run, tmp_path, narrow_model, monkeypatch, where
):
    def fail(*_args, **_options):
        raise OSError("the tracking server is down")

    target = (
        "harness.trackers.jsonl.open_tracker"
        if where == "open"
        else f"harness.trackers.jsonl.JsonLines.{where}"
    )
    monkeypatch.setattr(target, fail)
    code, text = run(*PLAIN, f"model.path={narrow_model}", "tracker=jsonl", "method=rtn4")
    assert code == 0
    assert (
        "tracker jsonl failed and is left out from here on: OSError: the tracking server is down"
        in text
    )
    assert "rtn4 on GQA: done" in text


def test_r29_no_secret_of_the_environment_reaches_store_or_tracker(
    run, tmp_path, narrow_model, monkeypatch
):
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sekrit-0123456789")
    assert run(*SMALL, f"model.path={narrow_model}", "tracker=jsonl")[0] == 0
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in files if b"sekrit-0123456789" in path.read_bytes()]


class Breaking:
    """A tracker that takes the first numbers and no others."""

    def __init__(self):
        self.values = []

    def scalars(self, values):
        if self.values:
            raise RuntimeError("no more")
        self.values.append(values)

    def finish(self):
        self.values.append("finished")


def test_the_first_failure_is_the_last_call():
    tracker = Breaking()
    guarded = Guarded("breaking", lambda: tracker)
    for number in range(3):
        guarded.scalars({"number": number})
    guarded.finish()
    assert tracker.values == [{"number": 0}]


def test_settings_are_flat_and_plain():
    nested = {"method": {"low": {"bits": 2}, "k": "half"}, "tasks": ["a"], "limit": None}
    assert flat(nested) == {
        "method.low.bits": 2,
        "method.k": "half",
        "tasks": "['a']",
        "limit": None,
    }
