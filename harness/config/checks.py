"""Checks of a configuration that need nothing but the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from harness.config.schema import Config, MethodConfig
from harness.errors import ConfigError
from luq.allocation.orders import ORDERS

SEVERAL_K = ("half", "quarters", "all")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "format": ("packed",),
    "model.memory": ("full", "streamed"),
    "model.dtype": ("float32", "bfloat16", "float16"),
    "method.order": tuple(ORDERS),
    "method.inputs": ("fp", "graft", "sequential"),
    "method.score": ("divergence", "damage", "random"),
    "method.unit": ("block", "linear"),
    "entropy.init": ("k-means++", "random"),
    "entropy.at": ("output", "input_norm", "output_norm"),
    "entropy.tokens": ("all", "image", "text"),
    "search.rule": ("threshold", "budget"),
    "launcher.name": ("local", "joblib", "slurm"),
    "launcher.each": ("job", "cell"),
}
_AT_LEAST_1: tuple[Callable[[Any], bool], str] = (lambda value: value >= 1, "it must be at least 1")
_ABOVE_0: tuple[Callable[[Any], bool], str] = (lambda value: value > 0, "it must be above 0")
_NOT_NEGATIVE: tuple[Callable[[Any], bool], str] = (
    lambda value: value >= 0,
    "it must be 0 or more",
)
_SHARE: tuple[Callable[[Any], bool], str] = (
    lambda value: 0 <= value < 1,
    "it is a share, 0 to below 1",
)
LIMITS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "limit": (_AT_LEAST_1[0], "give a number of questions above 0, or limit=null for all"),
    "batch_size": _AT_LEAST_1,
    "max_error_share": _SHARE,
    "margin": _ABOVE_0,
    "model.device": (
        lambda value: re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is not None,
        "give auto, cpu, cuda, cuda:0 or mps",
    ),
    "model.features_gib": _NOT_NEGATIVE,
    "calibration.alpha": (lambda value: 0 <= value <= 1, "it is a share of tokens, 0 to 1"),
    "calibration.tokens": _AT_LEAST_1,
    "calibration.sequence": (lambda value: value > 1, "it must be at least 2"),
    "entropy.seeds": _AT_LEAST_1,
    "entropy.starts": _AT_LEAST_1,
    "entropy.drop": _SHARE,
    "plan.questions_per_second": _ABOVE_0,
    "plan.teraflops": _ABOVE_0,
    "gate.questions": _AT_LEAST_1,
    "gate.more_bits": _NOT_NEGATIVE,
    "gate.seed": _NOT_NEGATIVE,
    "launcher.workers": _AT_LEAST_1,
    "launcher.block": _AT_LEAST_1,
    "launcher.minutes": _AT_LEAST_1,
    "launcher.cpus": _AT_LEAST_1,
    "launcher.gpus": _NOT_NEGATIVE,
    "workers.timeout": _ABOVE_0,
    "suite.window": (lambda value: value > 1, "a window of text has at least 2 tokens"),
    "suite.batch_size": _AT_LEAST_1,
    "search.budget_mib": _ABOVE_0,
}


def check(config: Config) -> None:
    """Refuse values that no stage could work with.

    What depends on the model (k, its blocks) or on what is installed (stages, trackers, suites) is
    checked where it is known.

    Raises:
        ConfigError: Names the key, its value and what it may be.
    """
    for key, choices in CHOICES.items():
        value = _value(config, key)
        _require(value in choices, f"{key} is {value!r}; choose one of {', '.join(choices)}")
    for key, (holds, requirement) in LIMITS.items():
        value = _value(config, key)
        _require(value is None or holds(value), f"{key} is {value}; {requirement}")
    _require(
        config.calibration.alpha == 0 or bool(config.calibration.image_text),
        f"calibration.alpha is {config.calibration.alpha}, but there is no source of image-text "
        "samples: set calibration.image_text, or calibrate on text alone with calibration=text",
    )
    _require(bool(config.suite.tasks), "suite.tasks is empty; name at least one task")
    _check_method(config.method)
    _check_entropy(config)


def _value(config: Config, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


def _check_method(method: MethodConfig) -> None:
    number = isinstance(method.k, int)
    _require(
        number or method.k in SEVERAL_K,
        f"method.k is {method.k!r}; it is a number of decoder blocks, or one of "
        f"{', '.join(SEVERAL_K)}",
    )
    _require(
        not number or int(method.k) >= 0,
        f"method.k is {method.k}; it is a number of decoder blocks, 0 or more",
    )
    if method.candidates:
        _require(
            not method.low and not method.high,
            f"{method.name} has candidates; method.low and method.high have no place with them",
        )
        _require(
            method.budget_bits is not None,
            f"{method.name} has candidates but no budget; set method.budget_bits, in stored bits "
            "per weight",
        )


def _check_entropy(config: Config) -> None:
    clusters, grid = config.entropy.clusters, config.entropy.grid
    number = isinstance(clusters, int)
    _require(
        number or clusters == "stable",
        f"entropy.clusters is {clusters!r}; give a number or `stable`",
    )
    _require(
        not number or int(clusters) > 1,
        f"entropy.clusters is {clusters}; K-means needs at least 2",
    )
    ascending = len(grid) > 2 and grid == sorted(set(grid)) and grid[0] > 1
    _require(
        ascending,
        f"entropy.grid is {grid}; give at least three rising numbers of clusters from 2 on",
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
