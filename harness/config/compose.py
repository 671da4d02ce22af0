"""From overrides to a checked configuration, through Hydra."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.checks import check
from harness.config.schema import Config
from harness.errors import ConfigError
from harness.paths import CONF

# What Hydra and OmegaConf raise for overrides that cannot be.
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, AttributeError)


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
            return to_config(hydra.compose("config", list(overrides)))
        register_schema()
        own = [f"hydra.searchpath=[file://{folder}]"] if folder else []
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return to_config(hydra.compose("config", [*overrides, *own]))
    except ConfigError:
        raise
    except COMPOSE_ERRORS as error:
        raise ConfigError(explain(error)) from error


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
    method = OmegaConf.to_container(OmegaConf.load(files[name])) if name in files else {}
    if not isinstance(method, dict) or not method.get("high") or method.get("low"):
        raise ConfigError(
            f"{key}={name}: no method with one quantizer of that name; choose one of "
            f"{', '.join(sorted(files))}, or null"
        )
    return method["high"]


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


def explain(error: BaseException) -> str:
    """Hydra's and OmegaConf's explanation on one line, with the cause that names the key."""
    causes = (error, error.__cause__)
    texts = [str(one).strip() for one in causes if one is not None and str(one).strip()]
    lines = (" ".join(text.split("Config search path")[0].split()) for text in texts)
    return "; ".join(dict.fromkeys(lines))
