"""The gate on real and on deliberately broken backends."""

import dataclasses
import json
import time
from typing import ClassVar

import pytest
import torch

from harness.cli.display import Display
from harness.stages.gate.backend import contract
from luq import GPTQ, RTN
from luq.pipelines.synthetic import layer_errors
from luq.quantizers.registry import QUANTIZERS
from luq.types import LayerStats
from reports.statistics.non_inferior import compare_layers
from tests.luq.pipelines.test_planted_faults import repacked

BITS = 3


def broken(name, call):
    """GPTQ with one fault, as a backend of its own: call(the correct method, weight, stats)."""

    @dataclasses.dataclass(frozen=True)
    class Broken(GPTQ):
        method: ClassVar[str] = name

        def __call__(self, weight, stats):
            return call(GPTQ(self.bits, group=self.group), weight, stats)

    return Broken


def not_undone(method, weight, stats):
    order = torch.argsort(stats.hessian.diagonal(), descending=True)
    hessian = stats.hessian[order][:, order]
    return method(weight[:, order], LayerStats(hessian, stats.tokens))


def only_wide_layers(method, weight, stats):
    """Right on anything that the contract looks at; in layers of 512 columns, all are stored one
    place further.
    """
    packed = method(weight, stats)
    return repacked(packed, codes=lambda c: c.roll(1, dims=1)) if weight.shape[1] == 512 else packed


CORRECT = broken("correct", lambda method, weight, stats: method(weight, stats))
FAULTS = {
    "groups_off_by_one": lambda m, w, s: repacked(m(w, s), scale=lambda x: x.roll(1, dims=1)),
    "no_error_feedback": lambda m, w, s: RTN(m.bits)(w, s),
    "reversed_hessian": lambda m, w, s: m(w, LayerStats(s.hessian.flip(0, 1), s.tokens)),
    "wrong_transpose": lambda m, w, s: m(w.T.reshape(w.shape), s),
    "sign_flip": lambda m, w, s: dataclasses.replace(m(w, s), scale=-m(w, s).scale),
    "scale_in_fp8": lambda m, w, s: repacked(
        m(w, s), scale=lambda x: x.to(torch.float8_e4m3fn).float()
    ),
    "permutation_not_undone": not_undone,
    "zero_points_ignored": lambda m, w, s: repacked(
        m(w, s), zero=lambda z: torch.full_like(z, 2 ** (m.bits - 1))
    ),
    "codes_one_too_low": lambda m, w, s: repacked(m(w, s), codes=lambda c: (c - 1).clamp(min=0)),
    "highest_code_never_used": lambda m, w, s: repacked(
        m(w, s), codes=lambda c: c.clamp(max=2**m.bits - 2)
    ),
    "one_row_left_out": lambda m, w, s: repacked(
        m(w, s), codes=lambda c: torch.cat([c[:1] * 0, c[1:]])
    ),
    "random": lambda m, w, s: repacked(m(w, s), scale=lambda x: x * (1 + 0.01 * torch.rand(()))),
    "statistics_not_checked": lambda m, w, s: m(
        w, s if s and s.tokens else LayerStats(torch.eye(w.shape[1]), 9)
    ),
}


def failed(method, seed):
    """The first check that fails without any model: of the contract, or beside the same method as
    it should be.
    """
    for check in contract(method, seed, Display(quiet=True)):
        if check.verdict == "fail":
            return check.name
    beside = compare_layers(
        layer_errors(method, seed), layer_errors(GPTQ(BITS), seed), "correct", "reference"
    )
    return next((check.name for check in beside if check.verdict == "fail"), None)


@pytest.mark.parametrize("fault", FAULTS)
def test_r26_every_broken_backend_fails_over_ten_seeds(fault):
    for seed in range(10):
        assert failed(broken(fault, FAULTS[fault])(BITS), seed) is not None


def test_r26_the_correct_backend_passes_over_ten_seeds():
    for seed in range(10):
        assert failed(CORRECT(BITS), seed) is None


def arguments(name, *more):
    return [
        "stage=gate",
        "method=custom",
        f"method.name={name}",
        f"method.high={{method: {name}, bits: {BITS}}}",
        *more,
    ]


def verdicts(tmp_path, method):
    """By check, as the gate's file has them."""
    found = json.loads((tmp_path / "runs" / "gate" / f"mini-{method}" / "gate.json").read_text())
    return {check["name"]: check["verdict"] for check in found["checks"]}


@pytest.fixture
def backends(monkeypatch):
    """The broken backends, registered as another package would."""
    for name, call in {**FAULTS, "only_wide_layers": only_wide_layers}.items():
        monkeypatch.setitem(QUANTIZERS, name, broken(name, call))
    monkeypatch.setitem(QUANTIZERS, "correct", CORRECT)


def test_a_broken_contract_fails_with_exit_code_1_before_anything_is_evaluated(
    run, tmp_path, backends, monkeypatch
):
    monkeypatch.setattr(
        "harness.stages.gate.stage.open_run", lambda *_: pytest.fail("a model was loaded")
    )
    code, text = run(*arguments("random", "baseline=gptq3"))
    assert code == 1
    assert "gate: FAIL" in text
    found = verdicts(tmp_path, "random")
    assert found["random: equal arguments give equal bits"] == "fail"
    assert found["evaluation"] == "skipped"
    assert (
        "<failure message="
        in (tmp_path / "runs" / "gate" / "mini-random" / "junit.xml").read_text()
    )


def test_r26_a_fault_that_only_real_layers_show_fails_by_its_answers(run, tmp_path, backends):
    suites = "suite.tasks=[mini_pope,mini_gqa,mini_docvqa]"
    code, _ = run(*arguments("only_wide_layers", "baseline=gptq3", suites, "gate.questions=100"))
    found = verdicts(tmp_path, "only_wide_layers")
    assert [name for name, verdict in found.items() if verdict == "fail"] == [
        "no worse than reference gptq3"
    ]
    assert code == 1


def test_the_gate_passes_then_compares_with_its_own_earlier_run_and_few_questions_are_undecided(
    run, tmp_path, narrow_model
):
    small = [
        "stage=gate",
        f"model.path={narrow_model}",
        "suite=mini_pope",
        "gate.questions=40",
        "calibration.tokens=600",
        "method=gptq4",
    ]
    assert run(*small)[0] == 3
    assert verdicts(tmp_path, "gptq4")["no worse than reference rtn4"] == "undecided"
    assert "no worse than earlier gptq4" not in verdicts(tmp_path, "gptq4")
    assert run(*small, "margin=40")[0] == 0
    assert verdicts(tmp_path, "gptq4")["no worse than earlier gptq4"] == "pass"
    earlier = tmp_path / "runs" / "gate" / "mini-gptq4" / "gate.json"
    code, text = run(*small, "margin=40", "gate.questions=41", f"gate.earlier={earlier}")
    assert code == 2
    assert "they cannot be compared" in text
    damaged = tmp_path / "damaged.json"
    damaged.write_text(earlier.read_text()[:99])
    code, text = run(*small, f"gate.earlier={damaged}")
    assert code == 2
    assert "cannot be read" in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["method=fp"], "quantizes nothing"),
        (["method=gptq4", "margin=0"], "margin is 0"),
        (["method=gptq4", "baseline=nothing"], "nothing"),
        (["method=gptq4", "gate.questions=0"], "gate.questions is 0"),
    ],
    ids=str,
)
def test_what_the_gate_cannot_judge_is_a_configuration_error(run, given, said):
    code, text = run("stage=gate", *given)
    assert code == 2
    assert said in text


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_r26_whole_runs_pass_the_correct_and_fail_the_broken_over_ten_seeds_in_two_minutes_each(
    run, backends, tmp_path
):
    """Ten seeds: other calibration data, other questions, other planted layers."""
    told = []
    for seed in range(10):
        for name, baseline, wanted in (("correct", "rtn3", 0), ("only_wide_layers", "gptq3", 1)):
            began = time.monotonic()
            code, text = run(
                *arguments(
                    name,
                    f"baseline={baseline}",
                    f"gate.seed={seed}",
                    f"store={tmp_path / f'{name}{seed}'}",
                )
            )
            told.append(
                (name, seed, code, round(time.monotonic() - began), text.strip().splitlines()[-1])
            )
            assert code == wanted, told
    print(*told, sep="\n")  # noqa: T201
    assert max(seconds for *_, seconds, _ in told) < 120
