"""The configuration as dataclasses: every key, its type, its default and its meaning.

The text below a key is its help: `python -m harness --help KEY` prints it, and docs/reference is
made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class ModelConfig:
    """The model whose decoder is quantized."""

    name: str = MISSING
    """Name in tables."""
    path: str = MISSING
    """A model folder, a GGUF file or a name on the hub; `mini` is the embedded model, `smollm2`
    that of an installed package."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null for the default branch."""
    dtype: str = "float32"
    """What the model computes in: float32, bfloat16 or float16."""
    device: str = "auto"
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`."""
    memory: str = "full"
    """`full`: the whole model on the device. `streamed`: its decoder blocks stay in their files and
    visit the device one at a time; variants are evaluated on their packed weights."""
    features_gib: float = 0.0
    """Disk space for vision features that do not fit into memory, in GiB."""
    batch_size: int = 64
    """What `batch_size` is unless it is given."""
    calibration_alpha: float = 0.5
    """What `calibration.alpha` is with `calibration=mix`."""
    calibration_text: str = "mini"
    """What `calibration.text` is unless it is given."""
    calibration_image_text: str | None = "mini"
    """What `calibration.image_text` is unless it is given."""
    calibration_tokens: int = 262144
    """What `calibration.tokens` is unless it is given."""
    calibration_sequence: int = 2048
    """What `calibration.sequence` is unless it is given."""


@dataclass
class MethodConfig:
    """How the decoder's linears are quantized."""

    name: str = MISSING
    """Name in tables."""
    low: Any = None
    """Quantizer of the k blocks that get the low-bit method: {method: NAME, option: value}, the
    name of another method whose quantizer it is to be, or null for full precision."""
    high: Any = None
    """Quantizer of all other blocks, written like `method.low`."""
    k: int | str = 0
    """How many blocks get `method.low`: a number, `half`, `quarters` (three runs) or `all` (a run
    for every k)."""
    order: str = "entropy"
    """Which blocks come first: entropy, entropy_reverse, depth, first, random, influence,
    layer_error or damage."""
    order_seed: int = 0
    """Seed of the order `random`, and of random plans (`method.score=random`)."""
    inputs: str = "fp"
    """What a block is calibrated on. `fp`: inputs of the full-precision model. `graft`: inputs
    behind blocks quantized by its own method, from one whole-model run of each method.
    `sequential`: inputs behind the blocks of this very plan (LUQ, equation 7)."""
    candidates: list[Any] = field(default_factory=list)
    """Quantizers, written like `method.low`, among which every unit gets the one with which the
    summed `method.score` is least within `method.budget_bits`."""
    budget_bits: float | None = None
    """Stored bits per weight that the plan of `method.candidates` may use."""
    score: str = "divergence"
    """What `method.candidates` are chosen by: divergence (Kullback-Leibler divergence from full
    precision on held-out answers), damage (rise of their loss) or random."""
    unit: str = "block"
    """What gets one of `method.candidates`: a whole block, or each linear."""
    reference: str | None = None
    """The method with as many bits that stage=gate compares it with."""


@dataclass
class CalibrationConfig:
    """What the model is calibrated on."""

    alpha: float = 0.5
    """Share of the tokens that come from image-text samples, 0 to 1."""
    text: str = "mini"
    """Text source: `mini`, `wikitext2` (training split, from the hub) or a UTF-8 text file."""
    image_text: str | None = "mini"
    """Image-text source: `mini`, `textvqa` (training split, from the hub), or the folder of a
    saved data set with the columns image, question, and answer or answers."""
    tokens: int = 8192
    """Tokens in all."""
    sequence: int = 64
    """Tokens of a text sequence."""
    seed: int = 0
    """Draws the samples."""


@dataclass
class EntropyConfig:
    """How the entropy of a block's activations is measured (LUQ, equations 3 to 5)."""

    clusters: int | str = 100
    """K of K-means, or `stable`: the K of `entropy.grid` from which on the ranking of the blocks
    stays the same."""
    seeds: int = 5
    """K-means runs that are averaged."""
    starts: int = 1
    """K-means starts of each run, of which the one with the least inertia counts."""
    init: str = "k-means++"
    """How a start draws its centres: k-means++ or random."""
    at: str = "output"
    """Where activations are taken: output (of the block), input_norm (before the block's first
    norm) or output_norm (behind the next norm)."""
    tokens: str = "all"
    """Which tokens: all, image or text."""
    drop: float = 0.0
    """Share of the tokens, those of largest norm, that is left out."""
    grid: list[int] = field(default_factory=lambda: list(range(10, 201, 10)))
    """Values of K for stage=stability and `entropy.clusters=stable`."""


@dataclass
class SearchConfig:
    """How stage=search looks for k."""

    rule: str = "threshold"
    """threshold: the largest k whose score reaches `search.tau`. budget: the smallest k whose
    packed language model is within `search.budget_mib`."""
    tau: float | None = None
    """Threshold in the metric's unit: per cent, or MME's points."""
    relative: bool = False
    """Whether `search.tau` is the number of points that may be lost to k=0."""
    budget_mib: float | None = None
    """Budget in MiB (2**20 bytes) of the packed language model."""
    suite: str = "mini_mme"
    """Suite whose score decides."""
    split: str = "selection"
    """Split of the suite that is asked; never the one that is reported."""
    metric: str | None = None
    """Metric of the suite; null for its first primary one."""
    scan: bool = True
    """Whether every k is evaluated, not only those of a binary search."""


@dataclass
class PlanConfig:
    """The throughput that stage=plan reckons with."""

    questions_per_second: float = 5.0
    """Questions answered a second."""
    teraflops: float = 50.0
    """Arithmetic on the calibration data, in TFLOP/s."""


@dataclass
class GateConfig:
    """What stage=gate asks of a backend."""

    questions: int = 200
    """Questions of each suite, unless `limit` is given."""
    more_bits: float = 0.0
    """Stored bits per weight that the backend may have above what it is compared with."""
    earlier: str | None = None
    """The gate.json of an earlier run; null for the last run in the store that did not fail."""
    seed: int = 0
    """Draws the calibration data, the planted layers and the questions of the embedded suites."""


@dataclass
class LauncherConfig:
    """Where the jobs of a sweep run."""

    name: str = "local"
    """local: one after the other. joblib: in parallel processes of this machine. slurm: as an
    array job."""
    workers: int | None = None
    """Processes at once; null for one for each GPU, or for every two cores; of SLURM as many as
    it gives."""
    each: str = "job"
    """What a process is given at a time: job (a variant on all its suites) or cell (on one)."""
    block: int = 1
    """SLURM: jobs or cells of one task of the array."""
    partition: str | None = None
    """SLURM: partition."""
    minutes: int = 240
    """SLURM: time limit of a task."""
    cpus: int = 2
    """SLURM: CPUs of a task."""
    gpus: int = 0
    """SLURM: GPUs of a task."""
    memory_gib: int | None = None
    """SLURM: memory of a task, in GiB."""
    sbatch: dict[str, Any] = field(default_factory=dict)
    """SLURM: further options of sbatch by name."""
    wait: bool = True
    """SLURM: wait until all tasks have ended; otherwise stage=status shows their state."""


@dataclass
class GcConfig:
    """What stage=gc frees."""

    everything: bool = False
    """Also the bank, answers and scores, which no result needs but the next variant would."""


@dataclass
class TrackerConfig:
    """Where runs are tracked."""

    name: str = "none"
    """none, jsonl (lines in the store), wandb, or a tracker of an installed package."""
    project: str = "luq-harness"
    """Project that runs are filed under."""


@dataclass
class WorkersConfig:
    """Environments of other quantization libraries."""

    folder: str = ".workers"
    """Folder of the environments that `make workers` builds."""
    timeout: float = 7200.0
    """Seconds after which a worker is stopped."""


@dataclass
class SuiteConfig:
    """What is evaluated."""

    name: str = MISSING
    """Name of this choice of tasks."""
    folder: str = "mini"
    """Folder of the task files, in `tasks`: mini, paper or text."""
    tasks: list[str] = field(default_factory=list)
    """Names of tasks in that folder."""
    data: str | None = None
    """Local data instead of the hub's: a folder with a saved data set for each task, or a text
    file."""
    window: int = 2048
    """Tokens of a window of text."""
    batch_size: int | None = None
    """Questions or windows at once; null for `batch_size`."""


@dataclass
class Config:
    """Everything that a command can be told."""

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
    """What to do; `stage=list` and `--help` list the stages."""
    store: str = "runs"
    """Folder that keeps everything."""
    limit: int | None = None
    """Questions of each suite (MME's pairs and circular groups stay whole); null for all."""
    batch_size: int = 64
    """Questions answered at once."""
    max_error_share: float = 0.005
    """Share of questions that may raise an error before a cell fails."""
    retry_failed: bool = False
    """Try cells again that failed before with the same code and data."""
    baseline: str | None = None
    """Method that stage=gate compares with; null for `method.reference`."""
    margin: float = 1.0
    """Points that stage=gate lets a backend lose."""
    format: str = "packed"
    """Form in which stage=export writes a variant."""
    out: str | None = None
    """Folder that stage=export or stage=gate writes to; null for one inside the store."""
    quiet: bool = False
    """Print nothing but errors."""
    dry_run: bool = False
    """stage=verify and stage=gc only say what they would do."""
