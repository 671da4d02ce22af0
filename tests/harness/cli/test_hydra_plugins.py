"""The jobs of a command come from Hydra: whatever its sweepers can say is announced and run."""

import sys
from typing import ClassVar

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.types import RunMode

from harness.cli.command import Command
from harness.config import compose
from harness.stages.base import Outcome
from harness.stages.registry import STAGES, Stage
from reports.report.lines import CellResult
from tests.sweeps import variants

TINY = ["limit=4", "batch_size=4", "suite=mini_gqa"]


@pytest.fixture
def composed(monkeypatch):
    """Overrides of every job that a command is given; none is run."""
    jobs = []

    def run_jobs(self, overrides):
        self.begun = True
        jobs.extend(list(one) for one in overrides)
        return [None] * len(overrides)

    monkeypatch.setattr(Command, "run_jobs", run_jobs)
    return jobs


def methods(jobs):
    return [next(o for o in job if o.startswith("method=")) for job in jobs]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("method=fp,gptq4", ["method=fp", "method=gptq4"]),
        ("method=choice(rtn4,rtn2)", ["method=rtn4", "method=rtn2"]),
        ("method=glob(rtn*)", ["method=rtn2", "method=rtn3", "method=rtn4"]),
        ("method=glob([rtn*,fp],exclude=rtn3)", ["method=fp", "method=rtn2", "method=rtn4"]),
    ],
)
def test_every_way_in_which_hydra_sweeps_gives_jobs(run, composed, given, wanted):
    assert run(given, "-m")[0] == 0
    assert sorted(methods(composed)) == sorted(wanted)


def test_options_may_stand_between_overrides(run, composed):
    assert run("method=fp,gptq4", "-m", "limit=4")[0] == 0
    assert methods(composed) == ["method=fp", "method=gptq4"]


def test_ranges_are_swept(run, composed):
    assert run("method=luq", "method.k=range(0,9,2)", "-m")[0] == 0
    ks = [next(o for o in job if o.startswith("method.k=")) for job in composed]
    assert ks == [f"method.k={k}" for k in (0, 2, 4, 6, 8)]


def test_variants_are_lists_of_overrides_multiplied_with_the_swept_keys(run, composed):
    given = variants("method=fp", "method=luq method.k=half")
    assert run("calibration.alpha=0,1", given, "-m")[0] == 0
    assert [job[-3:] if "method=luq" in job else job[-2:] for job in composed] == [
        ["calibration.alpha=0", "method=fp"],
        ["calibration.alpha=0", "method=luq", "method.k=half"],
        ["calibration.alpha=1", "method=fp"],
        ["calibration.alpha=1", "method=luq", "method.k=half"],
    ]


def test_a_key_that_the_variants_set_cannot_be_given_beside_them(run):
    code, text = run("+sweep=first_look", "method=gptq2")
    assert code == 2
    assert "method=gptq2: the variants of this sweep set method themselves" in text


def test_a_variant_that_is_no_override_is_refused_with_what_to_write(run):
    code, text = run("hydra.sweeper.variants=[{method: fp}]", "-m")
    assert code == 2
    assert "write an override (method=gptq4) or a list" in text


def test_jobs_of_a_sweep_are_announced_together_and_run_one_by_one(run, narrow_model):
    given = [*TINY, f"model.path={narrow_model}"]
    code, text = run(*given, "method=glob(rtn*,exclude=rtn2)", "-m")
    assert code == 0, text
    assert text.startswith("2 cells, 0 already done")
    assert "[1/2]" in text
    assert "[2/2]" in text


class Best(BasicSweeper):
    """A sweeper that, like Optuna's, asks for one job after the other and looks at its score."""

    scores: ClassVar[list] = []

    def __init__(self, max_batch_size=None, params=None):
        super().__init__(1, params)

    def sweep(self, arguments):
        for result in super().sweep(arguments):
            Best.scores += [one.return_value for one in result]


def test_another_sweeper_gets_the_score_of_every_job(run, narrow_model, monkeypatch):
    monkeypatch.setattr(Best, "__module__", "hydra_plugins.tests")
    monkeypatch.setattr(Best, "scores", [])
    monkeypatch.setitem(sys.modules, "hydra_plugins.tests", sys.modules[__name__])
    Plugins.instance().register(Best)
    node = {"_target_": "hydra_plugins.tests.Best", "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="best", node=node, provider="tests")
    given = [*TINY, f"model.path={narrow_model}", "hydra/sweeper=best"]
    code, text = run(*given, "method=rtn4,rtn2", "-m")
    assert code == 0, text
    assert len(Best.scores) == 2
    assert all(0 <= score <= 100 for score in Best.scores)


def test_a_stage_of_ones_own_runs_like_the_others(run, monkeypatch):
    """One entry of the registry is all."""
    ran = []

    class Own(Stage):
        @property
        def run(self):
            return lambda jobs, progress: ran.append(len(jobs)) or Outcome(failed=1)

    monkeypatch.setitem(STAGES, "own", Own("own", "a stage of one's own", "", once="command"))
    code, _ = run("stage=own", "method=fp,gptq4", "-m")
    assert code == 1
    assert ran == [2]


def test_a_row_is_what_an_outcome_scores():
    assert Outcome().score is None
    assert CellResult.__name__ in Outcome.__annotations__["rows"]


def test_a_folder_of_ones_own_configuration_reaches_every_job(run, tmp_path, narrow_model):
    """Sweeps and methods of --config-dir, also in the processes of a launcher."""
    conf = tmp_path / "conf"
    for group, name, text in (
        ("sweep", "mine", "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n"
         "    variants: [method=fp, method=rtn5]\n"),
        ("method", "rtn5", "name: rtn5\nhigh: {method: rtn, bits: 5}\n"),
    ):  # fmt: skip
        (conf / group).mkdir(parents=True)
        (conf / group / f"{name}.yaml").write_text(text)
    given = [*TINY, f"model.path={narrow_model}"]
    code, text = run("--config-dir", str(conf), *given, "+sweep=mine", "launcher=joblib")
    assert code == 0, text
    assert "[2/2] " in text
    cells = [path.read_text() for path in (tmp_path / "runs" / "cells").glob("*/cell.json")]
    assert len(cells) == 2
    assert all(f"--config-dir {conf}" in cell for cell in cells)
    assert run("method=rtn5")[0] == 2


@pytest.mark.parametrize(
    ("jobs", "composed_files"),
    [
        (["method=fp,rtn4", "suite=mini_gqa,mini_pope"], 4),
        (["method=fp", "suite=mini_gqa", "calibration.seed=range(4)"], 1),
    ],
)
def test_each_job_of_a_sweep_is_composed_once_and_plain_values_share_the_files(
    run, store, monkeypatch, jobs, composed_files
):
    composed, real = [], ConfigLoaderImpl.load_configuration

    def load(self, *arguments, **options):
        composed.append(options.get("run_mode"))
        return real(self, *arguments, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load)
    compose._compose.cache_clear()
    compose._composed_files.cache_clear()
    code, said = run("-m", "stage=status", "limit=4", *jobs)
    assert code == 0
    assert "4 missing" in said
    assert composed.count(RunMode.RUN) == composed_files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "# @package _global_\nhydra: {sweeper: {variants: [method=fp]}}",
            "write `mode: MULTIRUN`",
        ),
        ("# @package _global_\nhydra: {sweeper: {params: {method: fp}}}", "write `mode: MULTIRUN`"),
        ("limit: 4\nhydra: {mode: MULTIRUN}", "begins with the line `# @package _global_`"),
    ],
)
def test_a_sweep_file_whose_list_would_not_be_run_is_refused(run, tmp_path, text, reason):
    file = tmp_path / "own" / "sweep" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    code, said = run("--config-dir", str(file.parents[1]), "+sweep=mine")
    assert code == 2
    assert reason in said
