"""The way in: composes configurations, hands each job to its stage, and ends with an exit code.

The only file that imports Hydra.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from loguru import logger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import distributed
from harness.cli.display import Display
from harness.config.schema import Config, check
from harness.errors import ConfigError, StoreError
from harness.paths import CONF

if TYPE_CHECKING:
    from harness.launchers.job import Done, Told
    from harness.models.load import LoadedModel
    from harness.stages.evaluate import Job
    from harness.variants.calibration_run import Variant

OK, FAILED, BAD_CONFIG, UNDECIDED = 0, 1, 2, 3
COMPOSING = (
    HydraException,
    OmegaConfBaseException,
    ValueError,
    TypeError,
    AttributeError,
)  # what Hydra makes of odd overrides
UPKEEP = ("verify", "gc")  # look after a store and ask no model


@dataclass
class _Outcome:
    """What the jobs of one command came to."""

    failed_cells: int = 0
    bad_configs: list[str] = field(default_factory=list)
    last: Config | None = None
    sweep: str = ""
    undecided: bool = False
    begun: bool = False


def register_schema() -> None:
    ConfigStore.instance().store(name="schema", node=Config)


def to_config(raw: DictConfig) -> Config:
    """The checked dataclass of a composed configuration.

    Keys that the schema does not have are refused, also those given with `+`.
    """
    _refuse_unknown(raw, Config, "")
    config = OmegaConf.to_object(raw)
    assert isinstance(config, Config)
    for part in ("low", "high"):
        named = getattr(config.method, part)
        if isinstance(named, str):
            setattr(config.method, part, _quantizer_of(named, f"method.{part}"))
    given = config.method.candidates
    config.method.candidates = [
        _quantizer_of(c, "method.candidates") if isinstance(c, str) else c for c in given
    ]
    check(config)
    return config


def _quantizer_of(name: str, key: str) -> Any:
    """The quantizer of conf/method/NAME.yaml.

    Raises ConfigError for a name without a file or a method with more than one quantizer.
    """
    files = {path.stem: path for path in (CONF / "method").glob("*.yaml")}
    found = OmegaConf.to_container(OmegaConf.load(files[name])) if name in files else {}
    if not isinstance(found, dict) or not found.get("high") or found.get("low"):
        raise ConfigError(
            f"{key}={name}: no method with one quantizer of that name; choose one of"
            f" {', '.join(sorted(files))}, or null"
        )
    return found["high"]


def compose(overrides: Sequence[str]) -> Config:
    """The configuration of these overrides, to be read and not written.

    Raises ConfigError with Hydra's explanation.
    """
    return _compose(tuple(overrides))


@functools.lru_cache(maxsize=512)  # a sweep looks at its jobs before it runs them
def _compose(overrides: tuple[str, ...]) -> Config:
    try:
        if GlobalHydra.instance().is_initialized():
            return to_config(hydra.compose("config", list(overrides)))
        register_schema()
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return to_config(hydra.compose("config", list(overrides)))
    except ConfigError:
        raise
    except COMPOSING as error:
        raise ConfigError(_reason(error)) from error


def open_variant(
    variant: str, model: str, store: str, device: str | None, overrides: Mapping[str, Any]
) -> tuple[LoadedModel, Variant]:
    """What `--model_args variant=...,k=...` of lmms-eval's command line names; keys other than k in
    full: `calibration.alpha=0`.
    """
    from harness.stages import evaluate as stages

    given = [f"method={variant}", f"model={model}", f"store={store}"] + (
        [f"model.device={device}"] if device else []
    )
    given += [
        f"{'method.k' if key == 'k' else key}={value}"
        for key, value in overrides.items()
        if key != "max_batch_size"
    ]
    return stages.open_variant(compose(given))


def main() -> int:
    """Run the command line; returns 0, 1 for failed cells, a store that failed or a gate that says
    no, 2 for a configuration that cannot be, 3 for a gate that cannot say.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of ending the process
    register_schema()
    outcome = _Outcome()
    quiet = any(
        argument.split("=")[0] == "quiet" and argument.lower().endswith("true")
        for argument in sys.argv[1:]
    )
    quiet |= distributed.rank() > 0
    with Display(quiet=quiet) as display:

        @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
        def job(raw: DictConfig) -> None:
            outcome.begun = True
            _run_job(raw, display, outcome)

        try:
            _refuse_several_sweeps(sys.argv[1:])
            job()
        except (HydraException, OmegaConfBaseException) as error:
            outcome.bad_configs.append(_reason(error))
        except ConfigError as error:
            outcome.bad_configs.append(str(error))
        except COMPOSING as error:
            if outcome.begun:
                raise
            outcome.bad_configs.append(_reason(error))
        except StoreError as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED
        except OSError as error:  # Hydra makes its folder of logs inside the store
            print(
                f"error: cannot write to the store: {error}; free space, make it writable or choose"
                " store=PATH",
                file=sys.stderr,
            )
            return FAILED
        finally:
            outcome.failed_cells = max(distributed.gathered(outcome.failed_cells))
    try:
        return _finish(display, outcome) if distributed.rank() == 0 else _code(outcome)
    finally:
        distributed.leave()


def _run_job(raw: DictConfig, display: Display, outcome: _Outcome) -> None:
    context = HydraConfig.get()
    several = context.mode == RunMode.MULTIRUN
    overrides = list(context.overrides.task)
    try:
        config = _composed(overrides)
        if config.stage == "plan":
            if not several or context.job.num == 0:
                _plan(_all_jobs(context) if several else [overrides], display)
            return
        _log_to(Path(config.store))
        outcome.last = config
        if config.stage == "report":
            return
        stage = _stage(config.stage)
        if config.stage == "gate":
            _judge(config, overrides, display, outcome)
            return
        if config.stage == "status":
            if not several or context.job.num == 0:
                from harness.stages.status import tell_states

                jobs = _all_jobs(context) if several else [overrides]
                tell_states([_job(_composed(one), one) for one in jobs], display)
            return
        if config.stage in UPKEEP:
            outcome.failed_cells += stage(_job(config, overrides), display)
            return
        if not several or context.job.num == 0:
            _announce(_all_jobs(context) if several else [overrides], display)
        if config.launcher.name != "local":
            if not several or context.job.num == 0:
                _launch(_all_jobs(context) if several else [overrides], config, display, outcome)
            return
        job = _job(config, overrides)
        outcome.sweep = job.sweep
        outcome.failed_cells += stage(job, display)
    except ConfigError as error:
        outcome.bad_configs.append(str(error))


def _launch(jobs: list[list[str]], config: Config, display: Display, outcome: _Outcome) -> None:
    """All jobs of a sweep in other processes; those that ran are told one by one."""

    def told(done: Done) -> None:
        name = " ".join(
            o for o in jobs[done.number] if o.startswith(("cell=", "method", "suite.tasks="))
        )
        display.finish_cell(name, f"FAILED: {done.reason}" if done.reason else _ENDS[done.code])

    outcome.sweep = _job(config, jobs[0]).sweep
    if config.launcher.each == "cell":
        jobs = [cell for job in jobs for cell in _cells(job)]
    found = (
        _on_slurm(jobs, config, display, told)
        if config.launcher.name == "slurm"
        else _side_by_side(jobs, config, display, told)
    )
    outcome.failed_cells += sum(done.code == FAILED for done in found)
    outcome.bad_configs += [done.reason for done in found if done.code == BAD_CONFIG]


def _cells(overrides: list[str]) -> list[list[str]]:
    """A job's cells as jobs of their own."""
    from harness.stages.evaluate import each_k, look_at_model

    try:
        config = _composed(overrides)
    except ConfigError:
        return [overrides]  # told when it runs
    if config.stage != "evaluate":
        return [overrides]
    job = _job(config, overrides)
    jobs = (
        [job]
        if isinstance(config.method.k, int)
        else each_k(job, len(look_at_model(config).blocks))
    )
    flat = [o for o in _flat(overrides) if not o.startswith("method.k=")]
    return [
        [*flat, f"method.k={one.config.method.k}", f"suite.tasks=[{task}]"]
        for one in jobs
        for task in config.suite.tasks
    ]


def _side_by_side(
    jobs: list[list[str]], config: Config, display: Display, told: Told
) -> list[Done]:
    from harness.launchers.joblib import count_gpus, run_side_by_side, usual_workers

    gpus = count_gpus() if config.model.device != "cpu" else 0
    workers = config.launcher.workers or usual_workers(gpus)
    display.announce(
        len(jobs),
        0,
        f"{len(jobs)} jobs in {workers} processes" + (f" on {gpus} GPUs" if gpus else ""),
    )
    return run_side_by_side(jobs, workers, gpus, told)


def _on_slurm(jobs: list[list[str]], config: Config, display: Display, told: Told) -> list[Done]:
    try:
        from harness.launchers import slurm
    except ImportError as error:
        raise ConfigError(
            "launcher=slurm needs the package submitit: pip install 'luq-harness[slurm]'"
        ) from error
    tasks = slurm.submit(jobs, Path(config.store).resolve() / "slurm", config.launcher)
    display.announce(
        len(jobs),
        0,
        f"{len(jobs)} jobs in {len(tasks)} tasks of SLURM, {tasks[0].job_id} to {tasks[-1].job_id}",
    )
    if config.launcher.wait:
        return slurm.wait(tasks, len(jobs), told)
    display.message(
        "The same command with stage=status says how far they are, with stage=report it makes the"
        " report."
    )
    return []


_ENDS = {OK: "done", FAILED: "FAILED, see the report"}


def run_job(overrides: list[str]) -> tuple[int, str]:
    """(exit code, why not) of one job of a sweep, in a process that others started.

    Says nothing on the way.
    """
    try:
        config = _composed(overrides)
        _log_to(Path(config.store))
        with Display(quiet=True) as display:
            failed = _stage(config.stage)(_job(config, overrides), display)
    except ConfigError as error:
        return BAD_CONFIG, str(error)
    except StoreError as error:
        return FAILED, str(error)
    return (FAILED if failed else OK), ""


def _judge(config: Config, overrides: list[str], display: Display, outcome: _Outcome) -> None:
    from harness.stages.gate import gate

    name = config.baseline or config.method.reference
    others = [o for o in _flat(overrides) if not o.startswith(("method", "+method"))]
    job = replace(
        _job(config, overrides), baseline=compose([*others, f"method={name}"]) if name else None
    )
    display.announce(
        len(config.suite.tasks) * (2 if name else 1),
        0,
        f"gate: {config.method.name} beside {name or 'its earlier run'}",
    )
    code = gate(job, display)
    outcome.failed_cells += code == FAILED
    outcome.undecided |= code == UNDECIDED


def _plan(jobs: Sequence[Sequence[str]], display: Display) -> None:
    from harness.stages.plan import plan

    for found in plan([_job(_composed(overrides), overrides) for overrides in jobs]):
        display.table(found.head, found.rows)
        for line in found.lines:
            display.message(line)


def _composed(overrides: Sequence[str]) -> Config:
    """The configuration of one job."""
    return compose(_flat(overrides))


def _flat(overrides: Sequence[str]) -> list[str]:
    """The overrides of one job, those that its sweep wrote into `cell` last."""
    return [*(o for o in overrides if not o.startswith("cell=")), *_cell(overrides)]


def _cell(overrides: Sequence[str]) -> list[str]:
    given = [o for o in overrides if o.startswith("cell=")]
    return (
        shlex.split(str(OverridesParser.create().parse_override(given[-1]).value()))
        if given
        else []
    )


def _job(config: Config, overrides: Sequence[str]) -> Job:
    """The job with the command that makes it alone."""
    from harness.stages.evaluate import Job

    single = [o for o in _flat(overrides) if not o.startswith("+sweep=")]
    if config.limit is not None and not any(o.startswith("limit=") for o in single):
        single.append(f"limit={config.limit}")
    sweep = next((o.split("=", 1)[1] for o in overrides if o.startswith("+sweep=")), "")
    return Job(config, shlex.join(["python", "-m", "harness", *single]), sweep)


def _announce(jobs: Sequence[Sequence[str]], display: Display) -> None:
    from harness.stages.status import survey

    found = []
    for overrides in jobs:
        with contextlib.suppress(ConfigError):  # told when the job runs
            found.append(_job(_composed(overrides), overrides))
    plan = survey(found)
    display.announce(plan.cells, plan.done, str(plan))


def _all_jobs(context: Any) -> list[list[str]]:
    """The overrides of every job of the sweep, as Hydra's basic sweeper makes them: the product
    over swept keys of their values.
    """
    given = {key: f"{key}={value}" for key, value in (context.sweeper.params or {}).items()}
    given |= {argument.split("=")[0]: argument for argument in sys.argv[1:] if "=" in argument}
    choices = []
    for override in OverridesParser.create().parse_overrides(list(given.values())):
        key = override.get_key_element()
        values = (
            override.sweep_string_iterator()
            if override.is_sweep_override()
            else [override.get_value_element_as_str()]
        )
        choices.append([f"{key}={value}" for value in values])
    return [list(job) for job in itertools.product(*choices)]


def _stage(name: str) -> Callable[[Job, Display], int]:
    """What does a stage; the heavy libraries are imported only now, after the configuration has
    been checked.
    """
    from harness.stages import evaluate as stages
    from harness.stages import measure, search
    from harness.stages import verify as upkeep

    known = {
        "evaluate": stages.evaluate,
        "export": stages.export,
        "search": search.search,
        "verify": upkeep.verify,
        "gc": upkeep.gc,
    }
    return known.get(name, measure.measure)


def _finish(display: Display, outcome: _Outcome) -> int:
    if outcome.last is not None and outcome.last.stage not in ("gate", "status", *UPKEEP):
        from reports.report.write import write_report

        try:
            root = Path(outcome.last.store)
            board, found = write_report(root)
        except OSError as error:
            print(
                f"error: cannot write the report into {outcome.last.store}: {error}; free space and"
                " run stage=report",
                file=sys.stderr,
            )
            return FAILED
        if outcome.last.tracker.name != "none":
            from harness.trackers.guarded import track_report

            track_report(outcome.last, outcome.sweep, found)
        if outcome.last.stage in ("evaluate", "report"):
            display.leaderboard(board)
        display.message(
            f"Page: {root / 'report' / 'index.html'}   Table: {root / 'results.csv'}   Markdown:"
            f" {root / 'leaderboard.md'}"
        )
    for message in dict.fromkeys(outcome.bad_configs):
        print(f"configuration error: {message}", file=sys.stderr)
    return _code(outcome)


def _code(outcome: _Outcome) -> int:
    if outcome.bad_configs:
        return BAD_CONFIG
    if outcome.failed_cells:
        return FAILED
    return UNDECIDED if outcome.undecided else OK


def _log_to(root: Path) -> None:
    """Everything into the store's log file; of the harness's own warnings also the terminal."""
    logger.remove()
    logger.add(root / "logs" / "harness.log", level="INFO", enqueue=False)
    logger.add(sys.stderr, level="WARNING", filter="harness", format="{level}: {message}")


def _refuse_unknown(node: DictConfig, schema: type, path: str) -> None:
    known = {f.name: f for f in dataclasses.fields(schema)}
    for key in node:
        if key not in known:
            raise ConfigError(
                f"unknown key {path}{key!s}; {path.rstrip('.') or 'the configuration'} has"
                f" {', '.join(known)}"
            )
        default = known[key].default_factory
        if dataclasses.is_dataclass(default):
            _refuse_unknown(node[key], default, f"{path}{key}.")


def _refuse_several_sweeps(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if argument.lstrip("+").startswith("sweep=") and "," in argument:
            raise ConfigError(
                f"{argument}: Hydra would ignore the parameters of every sweep file; run one sweep"
                " at a time"
            )


def _reason(error: BaseException) -> str:
    """Hydra's and OmegaConf's explanation, with the cause that names the key."""
    texts = [str(e).strip() for e in (error, error.__cause__) if e is not None and str(e).strip()]
    return "; ".join(
        dict.fromkeys(" ".join(text.split("Config search path")[0].split()) for text in texts)
    )
