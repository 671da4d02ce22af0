"""Quantizers of other libraries: a worker process gets a model and calibration tokens, and returns
dequantized weights and the bytes that its library stores.

`harness/variants/external/workers/protocol.py` says what a worker reads and writes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from harness.models.load import LoadedModel
from harness.variants.external.plain_model import CALIBRATION, MODEL, write_plain_model
from harness.variants.external.result import ExternalWeight, read_result
from luq.decoder.blocks import BlockWeights
from luq.quantizers.registry import register
from luq.types import LayerStats, OptionError, QuantizationError, QuantizedWeight

SCRIPTS = Path(__file__).parent / "workers"


@dataclass(frozen=True)
class Worker:
    """A program of this package that quantizes with another library.

    Attributes:
        environment: Name of the environment that it runs in, in the folder `workers.folder`.
        script: Its file in `workers/`.
        identity: Part of the keys of what it quantizes. A program that computes something else
            gets another one, so that it quantizes again.
    """

    environment: str
    script: str
    identity: str


WORKERS: Mapping[str, Worker] = {
    "auto_gptq": Worker("legacy", "run_auto_gptq.py", "ea0a4d7504977020"),
    "autoawq": Worker("legacy", "run_autoawq.py", "1b825ebd63e88ea5"),
    "gptqmodel": Worker("gptqmodel", "run_gptqmodel.py", "fa92fa18725e9c21"),
    "llmcompressor": Worker("llmcompressor", "run_llmcompressor.py", "23badb1cb04eb199"),
}
LOG_LINES = 6
SECRETS = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


@register
@dataclass(frozen=True)
class External:
    """A whole model quantized by a worker process with another library.

    Attributes:
        worker: a worker of this package: auto_gptq, autoawq, gptqmodel or llmcompressor.
        command: the command line of another worker instead.
        bits: passed to the worker.
        group: passed to the worker.
        script: identity of the worker's program, see `Worker`; set automatically.
    """

    method: ClassVar[str] = "external"
    paper: ClassVar[str] = "other libraries"
    needs_stats: ClassVar[bool] = True
    whole_model: ClassVar[bool] = True
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (ExternalWeight,)
    contract_options: ClassVar[tuple[Mapping[str, object], ...]] = ()  # takes whole models only
    worker: str = ""
    command: str = ""
    bits: int = 4
    group: int = 128
    script: str = ""

    def __post_init__(self) -> None:
        if bool(self.worker) == bool(self.command):
            raise OptionError(
                f"external: give either worker (one of {', '.join(WORKERS)}) or command, the"
                " command line of your own"
            )
        if self.worker:
            if self.worker not in WORKERS:
                raise OptionError(
                    f"external: worker is {self.worker!r}; choose one of {', '.join(WORKERS)}, or"
                    " give a command of your own"
                )
            object.__setattr__(self, "script", WORKERS[self.worker].identity)

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> QuantizedWeight:
        """Raise QuantizationError: a worker takes whole models only."""
        raise QuantizationError(
            "external: a worker quantizes whole models; evaluate it with `python -m harness`"
        )

    @property
    def title(self) -> str:
        """Name of the worker or of its program."""
        return self.worker or Path(shlex.split(self.command)[0]).name

    def command_line(self, environments: Path) -> list[str]:
        """The command line that starts the worker.

        Args:
            environments: Folder of the workers' environments.

        Raises:
            QuantizationError: The worker's environment is missing.
        """
        if self.command:
            return shlex.split(self.command)
        worker = WORKERS[self.worker]
        python = environments.absolute() / worker.environment / "bin" / "python"
        if not python.exists():
            raise QuantizationError(
                f"external: {self.worker} needs the environment"
                f" {environments / worker.environment}; build it with `make workers`"
            )
        return [str(python), str(SCRIPTS / worker.script)]


def run_worker(
    quantizer: External,
    loaded: LoadedModel,
    sequences: Sequence[Mapping[str, Tensor]],
    *,
    environments: Path,
    timeout: float,
    log: Path,
) -> dict[int, BlockWeights]:
    """Quantize a whole model with a worker.

    Args:
        quantizer: Names the worker and its options.
        loaded: The model.
        sequences: Calibration sequences: keyword arguments of the model's forward.
        environments: Folder of the workers' environments.
        timeout: Seconds after which the worker is stopped.
        log: File for everything that the worker prints.

    Returns:
        Every decoder block, by index.

    Raises:
        QuantizationError: The worker failed, ran out of time or returned a wrong result, see
            `read_result`; the message has the last lines of the log.
    """
    command = quantizer.command_line(environments)
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="luq-worker-") as name:
        folder = Path(name)
        write_plain_model(loaded, sequences, folder)
        (folder / "out").mkdir()
        command += ["--model", str(folder / MODEL), "--calibration", str(folder / CALIBRATION)]
        command += ["--out", str(folder / "out")]
        command += ["--bits", str(quantizer.bits), "--group", str(quantizer.group)]
        # Some libraries write logs where they run; another command may name files from here.
        _run(command, quantizer.title, timeout, log, folder if quantizer.worker else Path.cwd())
        try:
            return read_result(folder / "out", quantizer.bits, loaded)
        except QuantizationError as error:
            raise QuantizationError(
                f"external: {quantizer.title} {error}; its log is {log}"
            ) from error


def _run(command: Sequence[str], title: str, timeout: float, log: Path, cwd: Path) -> None:
    """Run a worker to its end; all processes that it started end with it."""
    environment = {name: value for name, value in os.environ.items() if not SECRETS.search(name)}
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise QuantizationError(
                f"external: {title} cannot be started: {error}; see method.high.command"
            ) from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise QuantizationError(
                f"external: {title} was stopped after {timeout:g} seconds; raise workers.timeout or"
                f" look into its log {log}{_tail(log)}"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code != 0:
        raise QuantizationError(
            f"external: {title} ended with exit code {code}; its log is {log}{_tail(log)}"
        )


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(f"\n    {line[:200]}" for line in lines[-LOG_LINES:])
