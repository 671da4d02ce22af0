"""The configuration as dataclasses: every key, its type, its meaning and its checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from harness.errors import ConfigError
from harness.trackers.base import known_trackers
from luq.allocation.orders import ORDERS

STAGES = (
    "evaluate",
    "entropy",
    "stability",
    "orders",
    "search",
    "export",
    "plan",
    "gate",
    "status",
    "verify",
    "gc",
    "report",
)
LAUNCHERS = ("local", "joblib", "slurm")
FORMATS = ("packed",)
INPUTS = {
    "fp": "inputs from the full-precision model: a block's entry serves every plan",
    "graft": (
        "inputs behind blocks quantized by its own method, from one whole-model run of each method"
    ),
    "sequential": "inputs behind the blocks of this very plan (LUQ, equation 7)",
}
SEVERAL = ("half", "quarters", "all")
SCORES = ("divergence", "damage", "random")
RULES = ("threshold", "budget")
UNITS = ("block", "linear")
INITS = ("k-means++", "random")
PLACES = ("output", "input_norm", "output_norm")
TOKENS = ("all", "image", "text")
MEMORIES = ("full", "streamed")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass
class ModelConfig:
    """name: in tables. path: a folder, a GGUF file or the name of a model on the hub (revision: a
    branch, tag or commit); "mini" is the embedded model, "smollm2" that of an installed package.
    memory: full (the whole model on the device) or streamed (its decoder blocks stay in their files
    and visit the device one at a time; variants run on their packed weights). features_gib: disk
    for vision features that do not fit into memory. batch_size, calibration_*: what `batch_size`
    and `calibration` are unless told otherwise.
    """

    name: str = MISSING
    path: str = MISSING
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    memory: str = "full"
    features_gib: float = 0.0
    batch_size: int = 64
    calibration_alpha: float = 0.5
    calibration_text: str = "mini"
    calibration_image_text: str | None = "mini"
    calibration_tokens: int = 262144
    calibration_sequence: int = 2048


@dataclass
class MethodConfig:
    """name: in tables. low, high: a quantizer as {method:

    NAME, option: value}, the name of another method whose quantizer it is to be, or null for full
    precision. k: how many blocks get `low`, in `order`: a number, or `half`, `quarters` or `all`
    for one or several runs. inputs: what a block is calibrated on (see INPUTS). candidates:
    quantizers, written like `low`, among which every block, or linear (`unit`), gets the one that
    keeps the summed `score` least within `budget_bits` stored bits per weight. reference: the
    method with as many bits that stage=gate compares it with.
    """

    name: str = MISSING
    low: Any = None
    high: Any = None
    k: int | str = 0
    order: str = "entropy"
    order_seed: int = 0
    inputs: str = "fp"
    candidates: list[Any] = field(default_factory=list)
    budget_bits: float | None = None
    score: str = "divergence"
    unit: str = "block"
    reference: str | None = None


@dataclass
class CalibrationConfig:
    """alpha: share of the tokens that come from image-text samples. text, image_text: their
    sources, `mini` or a path (see sources.py). tokens: in all. sequence: tokens of a text sequence.
    """

    alpha: float = 0.5
    text: str = "mini"
    image_text: str | None = "mini"
    tokens: int = 8192
    sequence: int = 64
    seed: int = 0


@dataclass
class EntropyConfig:
    """clusters:

    K of K-means, or `stable`: the K of `grid` from which on the ranking of the blocks stays. seeds:
    how many are averaged; starts: of K-means, for each seed. init: how a start draws its centres.
    at: where the activations are taken. tokens: of which kind. drop: share of the tokens, those of
    largest norm, that is left out.
    """

    clusters: int | str = 100
    seeds: int = 5
    starts: int = 1
    init: str = "k-means++"
    at: str = "output"
    tokens: str = "all"
    drop: float = 0.0
    grid: list[int] = field(default_factory=lambda: list(range(10, 201, 10)))


@dataclass
class SearchConfig:
    """rule: threshold (the largest k whose score reaches tau) or budget (the smallest k whose
    packed language model is within budget_mib, in MiB of 2**20 bytes). tau: in the metric's unit,
    per cent or MME's points; relative: the points that may be lost to k=0 instead. suite, split,
    metric: what is asked; the split must not be the one that is reported. scan: ask every k, not
    only those of a binary search.
    """

    rule: str = "threshold"
    tau: float | None = None
    relative: bool = False
    budget_mib: float | None = None
    suite: str = "mini_mme"
    split: str = "selection"
    metric: str | None = None
    scan: bool = True


@dataclass
class PlanConfig:
    """The throughput that stage=plan reckons with: questions answered a second, and arithmetic on
    the calibration data.
    """

    questions_per_second: float = 5.0
    teraflops: float = 50.0


@dataclass
class GateConfig:
    """questions: of each suite, unless `limit` says otherwise. more_bits: stored bits a weight that
    a method may have above what it is compared with. earlier: the gate.json of an earlier run,
    instead of the last one in the store that did not fail. seed: draws the calibration data, the
    planted layers and, for the embedded suites, the questions.
    """

    questions: int = 200
    more_bits: float = 0.0
    earlier: str | None = None
    seed: int = 0


@dataclass
class LauncherConfig:
    """name: local (one job of a sweep after the other), joblib (side by side in processes of this
    machine) or slurm (an array job). workers: how many at once; null for one for each GPU, or for
    every two cores, of SLURM as many as it gives. each: what a process is given at a time: a job (a
    variant on all its suites) or a cell (on one of them). Of SLURM only: block: how many of these
    each task of the array does; partition, minutes, cpus, gpus, memory_gib: of a task; sbatch:
    further options by name; wait: until all have ended, else `stage=status` tells.
    """

    name: str = "local"
    workers: int | None = None
    each: str = "job"
    block: int = 1
    partition: str | None = None
    minutes: int = 240
    cpus: int = 2
    gpus: int = 0
    memory_gib: int | None = None
    sbatch: dict[str, Any] = field(default_factory=dict)
    wait: bool = True


@dataclass
class GcConfig:
    """everything: also free the bank, answers and scores, which no result needs but the next
    variant would.
    """

    everything: bool = False


@dataclass
class TrackerConfig:
    """name: of a file in harness/trackers, or none. project: that runs are filed under."""

    name: str = "none"
    project: str = "luq-harness"


@dataclass
class WorkersConfig:
    """folder: of the environments that `make workers` builds. timeout: seconds after which a worker
    is stopped.
    """

    folder: str = ".workers"
    timeout: float = 7200.0


@dataclass
class SuiteConfig:
    """name: of this choice. folder: of the task files, inside the package `tasks`. tasks: names in
    those files. data: local data instead of the hub's: a text file. window: tokens of a window of
    text. batch_size: instead of the general one.
    """

    name: str = MISSING
    folder: str = "mini"
    tasks: list[str] = field(default_factory=list)
    data: str | None = None
    window: int = 2048
    batch_size: int | None = None


@dataclass
class Config:
    """stage: evaluate (ask the suites, then report), entropy (of every block), stability (of the
    blocks' ranking over K), orders (their scores against measured damage), search (for k), export
    (write the variant as a model folder, in `format`, to `out`), plan (say what all of it would
    store, need and cost, and do nothing), gate (pass, fail or undecided: beside the method
    `baseline`, by default the method's own reference, and its own earlier run, with a loss of at
    most `margin` points), status (which cells of a sweep are done, running, failed or missing),
    verify (check every entry of the store), gc (free what no result needs; both only tell with
    `dry_run`) or report. store: folder of everything that is kept. limit: questions a suite (pairs
    and circular groups stay whole), null for all. cell: further overrides of one job, as sweeps use
    them.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    entropy: EntropyConfig = field(default_factory=EntropyConfig)
    suite: SuiteConfig = field(default_factory=SuiteConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    gc: GcConfig = field(default_factory=GcConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    stage: str = "evaluate"
    store: str = "runs"
    limit: int | None = None
    batch_size: int = 64
    max_error_share: float = 0.005
    baseline: str | None = None
    margin: float = 1.0
    format: str = "packed"
    out: str | None = None
    quiet: bool = False
    dry_run: bool = False
    cell: str = ""


def check(config: Config) -> None:
    """Raise ConfigError for values that no later stage could work with; k is checked against the
    model where it is known.
    """
    _require(
        config.stage in STAGES, f"stage is {config.stage!r}; choose one of {', '.join(STAGES)}"
    )
    _require(
        config.limit is None or config.limit > 0,
        f"limit is {config.limit}; give a number of questions above 0, or limit=null for all",
    )
    _require(
        config.format in FORMATS, f"format is {config.format!r}; choose one of {', '.join(FORMATS)}"
    )
    speeds = (config.plan.questions_per_second, config.plan.teraflops)
    _require(
        min(speeds) > 0,
        f"plan.questions_per_second and plan.teraflops are {speeds}; both must be above 0",
    )
    _require(config.margin > 0, f"margin is {config.margin}; it is a number of points above 0")
    gate = config.gate
    _require(gate.questions > 0, f"gate.questions is {gate.questions}; it must be at least 1")
    _require(
        gate.more_bits >= 0,
        f"gate.more_bits is {gate.more_bits}; it is a number of bits, 0 or more",
    )
    _require(gate.seed >= 0, f"gate.seed is {gate.seed}; it is a whole number, 0 or more")
    launcher = config.launcher
    _require(
        launcher.name in LAUNCHERS,
        f"launcher is {launcher.name!r}; choose one of {', '.join(LAUNCHERS)}",
    )
    _require(
        launcher.workers is None or launcher.workers > 0,
        f"launcher.workers is {launcher.workers}; it must be at least 1",
    )
    _require(
        launcher.each in ("job", "cell"), f"launcher.each is {launcher.each!r}; choose job or cell"
    )
    of_task = (launcher.block, launcher.minutes, launcher.cpus)
    _require(
        min(of_task) > 0,
        f"launcher.block, .minutes and .cpus are {of_task}; they must be at least 1",
    )
    _require(
        launcher.gpus >= 0, f"launcher.gpus is {launcher.gpus}; it is a number of GPUs, 0 or more"
    )
    trackers = known_trackers()
    _require(
        config.tracker.name in trackers,
        f"tracker is {config.tracker.name!r}; choose one of {', '.join(trackers)}",
    )
    _require(
        config.workers.timeout > 0,
        f"workers.timeout is {config.workers.timeout}; it is a number of seconds above 0",
    )
    _require(
        config.suite.window > 1,
        f"suite.window is {config.suite.window}; a window of text has at least 2 tokens",
    )
    sizes = (config.batch_size, config.suite.batch_size)
    _require(
        all(size is None or size > 0 for size in sizes),
        f"batch_size and suite.batch_size are {sizes}; they must be at least 1",
    )
    _require(
        0 <= config.calibration.alpha <= 1,
        f"calibration.alpha is {config.calibration.alpha}; it is a share of tokens, 0 to 1",
    )
    _require(
        config.calibration.tokens > 0,
        f"calibration.tokens is {config.calibration.tokens}; it must be above 0",
    )
    _require(
        config.calibration.alpha == 0 or bool(config.calibration.image_text),
        f"calibration.alpha is {config.calibration.alpha}, but there is no source of image-text"
        " samples: set calibration.image_text, or calibrate on text alone with calibration=text",
    )
    _require(
        config.calibration.sequence > 1,
        f"calibration.sequence is {config.calibration.sequence}; it must be above 1",
    )
    _check_entropy(config.entropy)
    if config.stage == "search":
        _check_search(config.search)
    _check_method(config.method)
    _require(
        config.model.memory in MEMORIES,
        f"model.memory is {config.model.memory!r}; choose one of {', '.join(MEMORIES)}",
    )
    _require(
        config.model.features_gib >= 0,
        f"model.features_gib is {config.model.features_gib}; it is a size in GiB, 0 or more",
    )
    _require(
        config.model.dtype in DTYPES,
        f"model.dtype is {config.model.dtype!r}; choose one of {', '.join(DTYPES)}",
    )
    _require(
        0 <= config.max_error_share < 1,
        f"max_error_share is {config.max_error_share}; it is a share of questions, 0 to below 1",
    )
    _require(bool(config.suite.tasks), "suite.tasks is empty; name at least one task")


def _check_method(method: MethodConfig) -> None:
    number = isinstance(method.k, int)
    _require(
        number or method.k in SEVERAL,
        f"method.k is {method.k!r}; it is a number of decoder blocks, or one of"
        f" {', '.join(SEVERAL)}",
    )
    _require(
        not number or int(method.k) >= 0,
        f"method.k is {method.k}; it is a number of decoder blocks, 0 or more",
    )
    _require(
        method.order in ORDERS,
        f"method.order is {method.order!r}; choose one of {', '.join(ORDERS)}",
    )
    _require(
        method.inputs in INPUTS,
        f"method.inputs is {method.inputs!r}; choose one of {', '.join(INPUTS)}",
    )
    _require(
        method.score in SCORES,
        f"method.score is {method.score!r}; choose one of {', '.join(SCORES)}",
    )
    _require(
        method.unit in UNITS, f"method.unit is {method.unit!r}; choose one of {', '.join(UNITS)}"
    )
    if method.candidates:
        _require(
            not method.low and not method.high,
            f"{method.name} has candidates; method.low and method.high have no place beside them",
        )
        _require(
            method.budget_bits is not None,
            f"{method.name} has candidates but no budget; set method.budget_bits, in stored bits"
            " per weight",
        )


def _check_search(search: SearchConfig) -> None:
    _require(
        search.rule in RULES, f"search.rule is {search.rule!r}; choose one of {', '.join(RULES)}"
    )
    key = "tau" if search.rule == "threshold" else "budget_mib"
    _require(getattr(search, key) is not None, f"search.rule={search.rule} needs search.{key}")
    _require(
        search.budget_mib is None or search.budget_mib > 0,
        f"search.budget_mib is {search.budget_mib}; it must be above 0",
    )
    _require(
        not search.relative or search.tau is None or search.tau >= 0,
        f"search.tau is {search.tau}; with search.relative=true it is the number of points that may"
        " be lost, 0 or more",
    )


def _check_entropy(entropy: EntropyConfig) -> None:
    number = isinstance(entropy.clusters, int)
    _require(
        number or entropy.clusters == "stable",
        f"entropy.clusters is {entropy.clusters!r}; give a number or `stable`",
    )
    _require(
        not number or int(entropy.clusters) > 1,
        f"entropy.clusters is {entropy.clusters}; K-means needs at least 2",
    )
    _require(entropy.seeds > 0, f"entropy.seeds is {entropy.seeds}; it must be at least 1")
    _require(entropy.starts > 0, f"entropy.starts is {entropy.starts}; it must be at least 1")
    _require(
        entropy.init in INITS, f"entropy.init is {entropy.init!r}; choose one of {', '.join(INITS)}"
    )
    _require(
        entropy.at in PLACES, f"entropy.at is {entropy.at!r}; choose one of {', '.join(PLACES)}"
    )
    _require(
        entropy.tokens in TOKENS,
        f"entropy.tokens is {entropy.tokens!r}; choose one of {', '.join(TOKENS)}",
    )
    _require(
        0 <= entropy.drop < 1,
        f"entropy.drop is {entropy.drop}; it is a share of tokens, 0 to below 1",
    )
    ascending = (
        len(entropy.grid) > 2 and entropy.grid == sorted(set(entropy.grid)) and entropy.grid[0] > 1
    )
    _require(
        ascending,
        f"entropy.grid is {entropy.grid}; give at least three rising numbers of clusters from 2 on",
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
