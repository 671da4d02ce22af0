"""From overrides to a checked configuration, through Hydra."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from harness.config.checks import check
from harness.config.choices import GROUPS
from harness.config.keys import read_groups
from harness.config.schema import Config
from harness.errors import ConfigError
from harness.paths import CONF

# What Hydra, OmegaConf and their reader of YAML raise for overrides and files that cannot be.
COMPOSE_ERRORS = (
    HydraException,
    OmegaConfBaseException,
    YAMLError,
    UnicodeDecodeError,
    ValueError,
    TypeError,
    AttributeError,
)


# Where the classes of `harness.cli.hydra_plugins` are found: Hydra takes plugins of the namespace
# `hydra_plugins` only.
PLUGINS = "hydra_plugins.luq"
CONFIG_DIR = "LUQ_CONFIG_DIR"


@dataclass
class SweeperConfig:
    """`hydra/sweeper=variants`; see `harness.cli.hydra_plugins.VariantSweeper`."""

    _target_: str = f"{PLUGINS}.VariantSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    variants: list[Any] = field(default_factory=list)


@dataclass
class LauncherPluginConfig:
    """`hydra/launcher=command`; see `harness.cli.hydra_plugins.CommandLauncher`."""

    _target_: str = f"{PLUGINS}.CommandLauncher"


def register_schema() -> None:
    """Make known to Hydra what conf/config.yaml names and no file has."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="hydra/sweeper", name="variants", node=SweeperConfig, provider="luq")
    store.store(group="hydra/launcher", name="command", node=LauncherPluginConfig, provider="luq")


def compose(overrides: Sequence[str]) -> Config:
    """The checked configuration of these overrides. It is shared: read it, do not write to it.

    Args:
        overrides: As on the command line: `method=gptq4`, `+method.high.group=64`.

    Raises:
        ConfigError: With Hydra's explanation, or that of `check`.
    """
    return _compose(tuple(overrides), config_dir())


@functools.lru_cache(maxsize=512)  # the jobs of a sweep are announced before they run
def _compose(overrides: tuple[str, ...], folder: str) -> Config:
    try:
        if GlobalHydra.instance().is_initialized():
            return to_config(_raw(overrides, folder))
        register_schema()
        own = [f"hydra.searchpath=[file://{folder}]"] if folder else []
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return to_config(hydra.compose("config", [*overrides, *own]))
    except ConfigError:
        raise
    except COMPOSE_ERRORS as error:
        raise ConfigError(explain(error, overrides)) from error


def _raw(overrides: tuple[str, ...], folder: str) -> DictConfig:
    """What Hydra composes of these overrides.

    Hydra takes a tenth of a second to put files together and then sets the values, so that the jobs
    of a sweep that differ in plain values share the files.
    """
    values = _plain_values(overrides, folder)
    if values is None:
        return hydra.compose("config", list(overrides))
    files = tuple(one for one in overrides if one not in {value.input_line for value in values})
    config = copy.deepcopy(_composed_files(files, folder))
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


@functools.lru_cache(maxsize=64)
def _composed_files(overrides: tuple[str, ...], _folder: str) -> DictConfig:
    return hydra.compose("config", list(overrides))


def _plain_values(overrides: Sequence[str], folder: str) -> list[Override] | None:
    """Those overrides that set one value of a key; None where others depend on their order."""
    values = []
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        if one.is_hydra_override() or one.is_sweep_override():
            return None
        if not isinstance(one.value(), dict) and _is_group(one.key_or_group, folder):
            continue
        if one.type is not OverrideType.CHANGE or isinstance(one.value(), dict | list):
            return None
        values.append(one)
    return values


@functools.cache
def _is_group(key: str, _folder: str) -> bool:
    """Whether a key names a folder of files."""
    return bool(GlobalHydra.instance().config_loader().get_group_options(key))


def config_dir() -> str:
    """The folder of one's own files of the configuration, "" for none.

    Hydra's option --config-dir; it is an environment variable so that the processes of launchers
    have it too.
    """
    return os.environ.get(CONFIG_DIR, "")


def to_config(raw: DictConfig) -> Config:
    """The checked dataclass of a composed configuration.

    Raises:
        ConfigError: For keys that the schema lacks, also those given with `+`, and for values that
            `check` refuses.
    """
    _refuse_unknown(raw, Config, "")
    config = OmegaConf.to_object(raw)
    assert isinstance(config, Config)
    for part in ("low", "high"):
        named = getattr(config.method, part)
        if isinstance(named, str):
            setattr(config.method, part, _quantizer_of(named, f"method.{part}"))
    config.method.candidates = [
        _quantizer_of(one, "method.candidates") if isinstance(one, str) else one
        for one in config.method.candidates
    ]
    check(config)
    return config


def _quantizer_of(name: str, key: str) -> Any:
    """The quantizer of conf/method/NAME.yaml."""
    files = {path.stem: path for path in (CONF / "method").glob("*.yaml")}
    quantizers = {
        name: method["high"]
        for name, path in sorted(files.items())
        if isinstance(method := OmegaConf.to_container(OmegaConf.load(path)), dict)
        and isinstance(method.get("high"), dict)
        and not method.get("low")
    }
    if name not in quantizers:
        raise ConfigError(
            f"{key}={name}: no method with one quantizer of that name; choose one of "
            f"{', '.join(quantizers)}, give a quantizer as '{key}={{method: NAME}}', or null"
        )
    return quantizers[name]


def _refuse_unknown(node: DictConfig, schema: type, path: str) -> None:
    known = {field.name: field for field in dataclasses.fields(schema)}
    for key in node:
        if key not in known:
            raise ConfigError(
                f"unknown key {path}{key!s}; {path.rstrip('.') or 'the configuration'} has "
                f"{', '.join(known)}"
            )
        default = known[str(key)].default_factory
        if dataclasses.is_dataclass(default):
            _refuse_unknown(node[key], default, f"{path}{key}.")


def explain(error: BaseException, overrides: Sequence[str] = ()) -> str:
    """What is wrong on one line: an unknown key, or else Hydra's and OmegaConf's explanation.

    Args:
        error: What composing raised.
        overrides: What was composed.
    """
    for unknown in filter(None, map(_unknown_key, overrides)):
        return unknown
    causes = (error, error.__cause__)
    texts = [str(one).strip() for one in causes if one is not None and str(one).strip()]
    lines = (" ".join(text.split("Config search path")[0].split()) for text in texts)
    text = "; ".join(dict.fromkeys(lines))
    if "Key 'sweep' not in" in text:
        text += "; a sweep file begins with the line `# @package _global_`"
    return text


def _unknown_key(override: str) -> str:
    """What is wrong with the key of an override, and the nearest one; "" for nothing."""
    key = re.split("[=@]", override.lstrip("~"))[0]
    known = {one.name for group in read_groups() for one in group.keys}
    if (
        not re.fullmatch(r"[a-z_][\w.]*", key)  # an option, or with + a file of one's own
        or key.split(".")[0] == "hydra"
        or key in known | set(GROUPS)
        or any(key.startswith(f"{one}.") for one in known)
    ):
        return ""
    nearest = difflib.get_close_matches(key, sorted(known | set(GROUPS)), n=1)
    guess = f"; did you mean {nearest[0]}?" if nearest else "."
    return f"unknown key {key}{guess} `python -m harness --help keys` prints every key"
