import pytest

from harness.errors import ConfigError
from harness.evaluation import registry
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures import mini
from harness.stages.base import read_job
from harness.stages.status import Workload, states
from harness.store.store import Store
from harness.variants.variant import make_variant
from luq.types import QuantizationError


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        (Workload(9, 9, 0, None), "9 cells, all already done"),
        (Workload(1, 0, 0, None), "1 cell, 0 already done"),
        (
            Workload(9, 2, 1400, None),
            (
                "9 cells, 2 already done, 7 left with at most 1,400 questions (time unknown,"
                " nothing was evaluated"
            ),
        ),
        (
            Workload(9, 2, 1400, 600.0),
            (
                "9 cells, 2 already done, 7 left with at most 1,400 questions (about 10 min, and"
                " quantization)"
            ),
        ),
    ],
)
def test_a_workload_says_what_is_done_and_what_is_left(workload, said):
    assert str(workload).startswith(said)


def test_a_cell_runs_from_its_quantization_on_until_it_is_done_or_failed(
    run, tmp_path, narrow_model, monkeypatch
):
    given = [
        f"model.path={narrow_model}",
        f"store={tmp_path / 'runs'}",
        "method=rtn3",
        "suite.tasks=[mini_gqa,mini_pope]",
        "limit=4",
        "batch_size=12",
    ]
    seen, ask = [], LuqModel._generate

    def look():
        seen.append([state for _, state in states([read_job(given)])[0]])

    monkeypatch.setattr(
        "harness.stages.evaluate.make_variant",
        lambda *arguments: (look(), make_variant(*arguments))[1],
    )
    monkeypatch.setattr(
        LuqModel, "_generate", lambda self, batch, ahead=None: (look(), ask(self, batch, ahead))[1]
    )
    look()
    assert run(*given)[0] == 0
    look()
    assert seen == [
        ["missing"] * 2,
        ["running"] * 2,
        ["running"] * 2,
        ["done", "running"],
        ["done"] * 2,
    ]
    with monkeypatch.context() as patched:
        patched.setattr(
            "harness.variants.calibration_run.load_model",
            lambda *_, **__: pytest.fail("weights were loaded"),
        )
        assert (
            "2 done, 0 running, 0 failed, 0 missing, 0 outdated" in run(*given, "stage=status")[1]
        )
    monkeypatch.setattr(
        "harness.stages.evaluate.make_variant",
        lambda *_: (_ for _ in ()).throw(QuantizationError("block 0 is not finite")),
    )
    given[2] = "method=rtn2"
    assert run(*given)[0] == 1
    look()
    assert seen[-1] == ["failed"] * 2
    assert not list((Store(tmp_path / "runs").root / "claims").iterdir())


def test_r37_a_suite_that_cannot_be_opened_hides_no_other(run, tmp_path, narrow_model, monkeypatch):
    given = [f"model.path={narrow_model}", "method=rtn3", "limit=4", "batch_size=12"]
    both = "suite.tasks=[mini_gqa,mini_pope]"
    assert run(*given, "suite=mini_gqa")[0] == 0
    real = mini.open_suites

    def open_suites(settings, *rest):
        if "mini_pope" in settings.tasks:
            raise ConfigError("the hub cannot be reached")
        return real(settings, *rest)

    monkeypatch.setitem(registry.KINDS, "mini", open_suites)
    code, said = run(*given, both, "stage=status")
    assert code == 1
    assert "1 done, 0 running, 0 failed, 0 missing, 0 outdated, 1 unopened" in said
    assert "unopened: the hub cannot be reached" in said
    assert run(*given, "suite=mini_pope", "stage=status")[0] == 2
