"""Quantizers of other libraries, each in an environment of its own: a worker process gets a model
and calibration tokens, and gives back dequantized weights and the bytes its library keeps.
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

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.models.load import LoadedModel
from harness.variants.external.plain_model import CALIBRATION, MODEL, PREFIX, write_plain_model
from luq.decoder.blocks import BlockWeights
from luq.quantizers.registry import register
from luq.rounding.dense import DenseWeight, smallest_exact
from luq.types import LayerStats, OptionError, QuantizationError, QuantizedWeight, require_finite

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


@dataclass(frozen=True)
class ExternalWeight(DenseWeight):
    """What a worker returned.

    Attributes:
        weight: (out, in), dequantized.
        bits: of the quantizer, for `paper_bits`.
        declared_bytes: bytes that its library stores for this weight.
    """

    format: ClassVar[str] = "external"
    bits: int = 0
    declared_bytes: int = 0

    @property
    def paper_bits(self) -> float:
        """Bits that the worker was asked for."""
        return float(self.bits)

    def header(self) -> dict[str, int]:
        """Return the stored fields that are no tensors."""
        return {"bits": self.bits, "declared_bytes": self.declared_bytes}


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
        """Raises QuantizationError where the worker's environment is not there."""
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


class _Report(BaseModel):
    """report.json of a worker."""

    model_config = ConfigDict(extra="forbid", strict=True)
    library: str
    tokens: int
    stored_bytes: dict[str, int]


def run_worker(
    quantizer: External,
    loaded: LoadedModel,
    sequences: Sequence[Mapping[str, Tensor]],
    *,
    environments: Path,
    timeout: float,
    log: Path,
) -> dict[int, BlockWeights]:
    """Every block as the worker quantized it. timeout: seconds. log: file that gets all the worker
    prints.

    Raises QuantizationError, with the log's last lines, for a worker that fails, runs past its
    time, or gives back tensors that are missing, too many, of another shape or not finite.
    """
    command = quantizer.command_line(environments)
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="luq-worker-") as name:
        folder = Path(name)
        write_plain_model(loaded, sequences, folder)
        (folder / "out").mkdir()
        command += [
            "--model",
            str(folder / MODEL),
            "--calibration",
            str(folder / CALIBRATION),
            "--out",
            str(folder / "out"),
        ]
        command += ["--bits", str(quantizer.bits), "--group", str(quantizer.group)]
        # Some libraries write logs where they run; a command of one's own may name files from here.
        _run(command, quantizer.title, timeout, log, folder if quantizer.worker else Path.cwd())
        try:
            return read_result(folder / "out", quantizer, loaded)
        except QuantizationError as error:
            raise QuantizationError(
                f"external: {quantizer.title} {error}; its log is {log}"
            ) from error


def _run(command: Sequence[str], title: str, timeout: float, log: Path, cwd: Path) -> None:
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
                os.killpg(process.pid, signal.SIGKILL)  # with everything that it started
            process.wait()
    if code != 0:
        raise QuantizationError(
            f"external: {title} ended with exit code {code}; its log is {log}{_tail(log)}"
        )


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(f"\n    {line[:200]}" for line in lines[-LOG_LINES:])


def read_result(folder: Path, quantizer: External, loaded: LoadedModel) -> dict[int, BlockWeights]:
    """What a worker wrote, every tensor checked."""
    try:
        report = _Report.model_validate_json((folder / "report.json").read_text())
        tensors = load_file(folder / "weights.safetensors")
    except (OSError, ValidationError, SafetensorError, UnicodeDecodeError) as error:
        raise QuantizationError(
            f"wrote no readable result: {' '.join(str(error).split())[:300]}"
        ) from error
    found: dict[int, BlockWeights] = {}
    for index, block in enumerate(loaded.blocks):
        prefix = f"{PREFIX}.{index}."
        own = {
            name.removeprefix(prefix): tensors.pop(name)
            for name in list(tensors)
            if name.startswith(prefix)
        }
        for name, parameter in block.named_parameters():
            if name in own:
                _check(own[name], parameter, prefix + name)
        linears: dict[str, QuantizedWeight] = {}
        for name in loaded.family.linears:
            weight, size = own.pop(f"{name}.weight", None), report.stored_bytes.get(prefix + name)
            if weight is None or size is None:
                raise QuantizationError(
                    f"gave back no {'weight' if weight is None else 'stored bytes'} for"
                    f" {prefix}{name}"
                )
            if not 0 < size <= 4 * weight.numel():
                raise QuantizationError(
                    f"says that {prefix}{name} takes {size} bytes, which cannot be for"
                    f" {weight.numel()} weights"
                )
            linears[name] = ExternalWeight(
                smallest_exact(weight.float()), bits=quantizer.bits, declared_bytes=size
            )
        known = dict(block.named_parameters())
        unknown = sorted(set(own) - set(known))
        if unknown:
            raise QuantizationError(
                f"gave back {prefix}{unknown[0]}, which the model does not have"
            )
        changed = {
            name: value
            for name, value in own.items()
            if not torch.equal(value.float(), known[name].float().cpu())
        }
        found[index] = BlockWeights(linears, changed)
    if tensors:
        raise QuantizationError(f"gave back {min(tensors)}, which belongs to no decoder block")
    return found


def _check(tensor: Tensor, parameter: Tensor, name: str) -> None:
    if tensor.shape != parameter.shape or not tensor.is_floating_point():
        raise QuantizationError(
            f"gave back {name} as {tuple(tensor.shape)} {tensor.dtype}; the model has"
            f" {tuple(parameter.shape)}"
        )
    require_finite(tensor, f"gave back {name}, which")
