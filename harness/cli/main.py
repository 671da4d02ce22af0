"""The command line: composes configurations, runs their jobs, reports, ends with an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from harness import distributed
from harness.cli.command import Command
from harness.cli.display import Display
from harness.cli.hydra_plugins import register
from harness.config.compose import COMPOSE_ERRORS, CONFIG_DIR, explain, register_schema
from harness.errors import ConfigError, ExitCode, StoreError
from harness.paths import CONF
from harness.stages.base import Outcome
from harness.stages.registry import find_stage
from harness.stages.report import make_report
from harness.store.marker import require_store, require_usable


def main() -> int:
    """Run the command line of `sys.argv`; returns an `ExitCode`."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of ending the process
    register_schema()
    register()
    sys.argv[1:] = _options_first(sys.argv[1:])
    with Display(quiet=_quiet(sys.argv[1:])) as display:
        if "stage=list" in sys.argv[1:]:  # without Hydra, which would make a folder of logs
            outcome: Outcome = find_stage("list").run([], display)
            return outcome.exit_code
        command = Command(display)
        try:
            with _config_dir_of(sys.argv[1:]):
                _compose_and_run(command)
        except StoreError as error:
            return _fail(str(error))
        except BrokenPipeError:
            raise  # whoever reads the output has closed it
        except OSError as error:  # Hydra makes its folder of logs inside the store
            return _fail(
                f"cannot write to the store: {error}; free space, make it writable or choose "
                "store=PATH"
            )
        finally:
            failed = max(distributed.gather(command.outcome.failed))
        try:
            if distributed.rank() > 0:
                return command.exit_code if command.exit_code else int(failed > 0)
            return _finish(display, command)
        finally:
            distributed.shut_down()


def _compose_and_run(command: Command) -> None:
    try:
        _refuse_several_sweeps(sys.argv[1:])
        _refuse_foreign_folders(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(command)()
    except ConfigError as error:
        command.bad_configs.append(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        command.bad_configs.append(explain(error, sys.argv[1:]))
    except AssertionError:
        if command.begun:
            raise
        command.bad_configs.append(
            "Hydra finds no value to sweep; does a glob() or range() match anything?"
        )
    except COMPOSE_ERRORS as error:
        if command.begun:
            raise
        command.bad_configs.append(explain(error, sys.argv[1:]))


def _finish(display: Display, command: Command) -> int:
    """The report, and what was wrong with the request."""
    job = command.reported
    if job is not None:
        root = Path(job.config.store)
        try:
            board = make_report(job.config, job.sweep)
        except StoreError as error:
            return _fail(str(error))
        if find_stage(job.config.stage).leaderboard:
            display.leaderboard(board)
        display.message(
            f"Page: {root / 'report' / 'index.html'}   Table: {root / 'results.csv'}   "
            f"Markdown: {root / 'leaderboard.md'}"
        )
    for message in dict.fromkeys(command.bad_configs):
        print(f"configuration error: {message}", file=sys.stderr)
    return command.exit_code


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return ExitCode.FAILED


def _quiet(arguments: Sequence[str]) -> bool:
    asked = any(one.split("=")[0] == "quiet" and one.lower().endswith("true") for one in arguments)
    return asked or distributed.rank() > 0


def _options_first(arguments: Sequence[str]) -> list[str]:
    """Hydra refuses options that stand between overrides: `method=fp,gptq4 -m limit=4`."""
    overrides = [one for one in arguments if "=" in one and not one.startswith("-")]
    return [*(one for one in arguments if one not in overrides), *overrides]


@contextlib.contextmanager
def _config_dir_of(arguments: Sequence[str]) -> Iterator[None]:
    """Inside, every process that is started knows the folder that --config-dir names."""
    for number, one in enumerate(arguments):
        name, _, value = one.partition("=")
        if name in ("--config-dir", "-cd"):
            folder = value or "".join(arguments[number + 1 : number + 2])
            os.environ[CONFIG_DIR] = str(Path(folder).absolute())
    try:
        yield
    finally:
        os.environ.pop(CONFIG_DIR, None)


def _refuse_foreign_folders(arguments: Sequence[str]) -> None:
    """Before Hydra makes its folder of logs in what is no store."""
    if any(one in ("-h", "--help", "-c", "--cfg", "-i", "--info") for one in arguments):
        return  # nothing is run
    given = dict(one.split("=", 1) for one in arguments if "=" in one and not one.startswith("-"))
    stage, stores = given.get("stage", "evaluate"), given.get("store", "runs")
    if "$" in stores or "(" in stores:
        return  # only Hydra can tell; the store is looked at when it is opened
    for store in (one.strip("'\"") for one in stores.split(",")):
        if not store:
            raise ConfigError("store is empty; give a folder")
        if stage in ("gc", "verify", "status", "report"):
            require_store(Path(store))
        elif stage not in ("plan", "list"):
            require_usable(Path(store))


def _refuse_several_sweeps(arguments: Sequence[str]) -> None:
    for one in arguments:
        if one.lstrip("+").startswith("sweep=") and "," in one:
            raise ConfigError(
                f"{one}: Hydra would ignore the parameters of every sweep file; run one sweep at a "
                "time"
            )
