"""The registry of quantizers.

A method is one file in this folder with a class decorated by `register`, or a class of another
package that an entry point in the group `luq.quantizers` names. See docs/extending/quantizer.md.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torch import Tensor

from luq.options import checked_options
from luq.quantizers.code import GROUP, code_digest
from luq.types import (
    Event,
    OptionError,
    QuantizationError,
    QuantizedWeight,
    Quantizer,
    RegistrationError,
    UnknownFormat,
)

PACKAGE = "luq.quantizers"
# Filled by `register` while modules are imported.
QUANTIZERS: dict[str, type[Quantizer]] = {}

Class = TypeVar("Class", bound=type[Quantizer])


def register(cls: Class) -> Class:
    """Register a quantizer under its `method`, as a decorator of a frozen dataclass.

    Its options are checked by their annotations, see `luq.options.checked_options`.

    Registering a class again, or a class with the same module and name (a module that is reloaded),
    replaces it.

    Raises:
        RegistrationError: The class is not a quantizer, or its method or one of its formats has the
            name of another.
    """
    _check_class(cls)
    others = [known for known in QUANTIZERS.values() if not _same_definition(known, cls)]
    formats = {packed.format: packed for known in others for packed in known.formats}
    for known in others:
        if known.method == cls.method:
            raise RegistrationError(
                f"{_full_name(cls)} is called {cls.method!r}, and so is {_full_name(known)}; rename"
                " one"
            )
    for packed in cls.formats:
        known_format = formats.get(packed.format, packed)
        if not _same_definition(known_format, packed):
            raise RegistrationError(
                f"{_full_name(packed)} has the format {packed.format!r}, and so has"
                f" {_full_name(known_format)}; rename one"
            )
    QUANTIZERS[cls.method] = checked_options(cls)
    return cls


def _check_class(cls: object) -> None:
    """Raise RegistrationError unless the object is the class of a quantizer."""
    formats = getattr(cls, "formats", None)
    if not isinstance(cls, type) or not _is_frozen_dataclass(cls):
        problem = "it must be a frozen dataclass"
    elif not isinstance(getattr(cls, "method", None), str):
        problem = "it needs a name in `method`"
    elif not hasattr(cls, "needs_stats"):
        problem = "it must say in `needs_stats` whether it uses calibration statistics"
    elif "__call__" not in dir(cls):
        problem = "it needs `__call__(weight, stats)`"
    elif not (isinstance(formats, tuple) and formats and all(map(_is_format, formats))):
        problem = "it needs the classes of its packed weights, each with a `format`, in `formats`"
    else:
        return
    raise RegistrationError(f"{_full_name(cls)} is no quantizer: {problem}")


def _is_frozen_dataclass(cls: type) -> bool:
    return bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))


def _is_format(cls: object) -> bool:
    return (
        isinstance(cls, type)
        and dataclasses.is_dataclass(cls)
        and isinstance(getattr(cls, "format", None), str)
        and hasattr(cls, "dequantize")
    )


def _full_name(cls: object) -> str:
    name = getattr(cls, "__qualname__", None)
    return f"{getattr(cls, '__module__', '')}.{name}" if name else repr(cls)


def _same_definition(first: type, second: type) -> bool:
    return first is second or _full_name(first) == _full_name(second)


@functools.cache
def _import_modules() -> None:
    """Import every module of this folder, so that its quantizers register themselves."""
    folder = importlib.import_module(PACKAGE).__path__
    for module in pkgutil.iter_modules(folder, f"{PACKAGE}."):
        importlib.import_module(module.name)


@functools.cache
def _import_entry_points() -> None:
    """Register the quantizers of other packages. Raises RegistrationError."""
    for point in entry_points(group=GROUP):
        try:
            register(point.load())
        except RegistrationError as error:
            raise RegistrationError(f"entry point {point.name} ({point.value}): {error}") from error
        except Exception as error:
            raise RegistrationError(
                f"entry point {point.name} ({point.value}) cannot be loaded:"
                f" {type(error).__name__}: {error}; repair or uninstall its package"
            ) from error


def quantizer_classes(*, plugins: bool = False) -> dict[str, type[Quantizer]]:
    """Return the classes of quantizers by method name, sorted.

    Args:
        plugins: load the entry points of other packages, and return every registered class, not
            only those of this folder.

    Raises:
        RegistrationError: A plugin cannot be loaded or registered.
    """
    _import_modules()
    if plugins:
        _import_entry_points()
    return {
        method: cls
        for method, cls in sorted(QUANTIZERS.items())
        if plugins or cls.__module__.startswith(f"{PACKAGE}.")
    }


def build_quantizer(method: str, options: Mapping[str, Any]) -> Quantizer:
    """Return the quantizer of that name with those options.

    Other packages are imported only for a method that is not one of luq's.

    Raises:
        OptionError: The method or an option is unknown, or a value is not allowed. The message
            lists what exists.
        RegistrationError: The method is unknown, and a plugin cannot be loaded.
    """
    _import_modules()
    if method not in QUANTIZERS:
        _import_entry_points()
    if method not in QUANTIZERS:
        raise OptionError(
            f"unknown quantizer {method!r}; choose one of {', '.join(sorted(QUANTIZERS))}"
        )
    names = [field.name for field in _fields(QUANTIZERS[method])]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise OptionError(f"{method} has no option {', '.join(unknown)}; it has {', '.join(names)}")
    return QUANTIZERS[method](**options)


def describe_quantizer(quantizer: Quantizer) -> dict[str, Any]:
    """Return the method's name and every option, from which `build_quantizer` builds it again."""
    options = dataclasses.asdict(quantizer)  # type: ignore[call-overload]
    return {"method": quantizer.method, **options}


def quantizer_identity(quantizer: Quantizer) -> dict[str, Any]:
    """Return what keys of its weights are made of: the description with a digest of the code."""
    return {**describe_quantizer(quantizer), "code": code_digest(type(quantizer))}


def quantizer_label(quantizer: Quantizer) -> str:
    """Return the method and every option that differs from its default: `gptq(bits=3)`.

    Two quantizers with the same label are equal.
    """
    options = [
        f"{field.name}={value}"
        for field in _fields(type(quantizer))
        if (value := getattr(quantizer, field.name)) != field.default
    ]
    return quantizer.method + (f"({', '.join(options)})" if options else "")


def rebuild_weight(
    name: str,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    events: tuple[Event, ...] = (),
) -> QuantizedWeight:
    """Return a packed weight from its stored parts.

    Args:
        name: of the format.
        header: fields that are no tensors.
        tensors: fields that are tensors.
        events: see `luq.types.QuantizedWeight`.

    Raises:
        UnknownFormat: No installed package has the format.
        QuantizationError: Parts are missing, or there are too many.
    """
    return rebuilt_as(_format_class(name), header, tensors, events)


def rebuilt_as(
    cls: type[QuantizedWeight],
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    events: tuple[Event, ...] = (),
) -> QuantizedWeight:
    """Return a packed weight of this class from its stored parts; see `rebuild_weight`.

    Raises:
        QuantizationError: Parts are missing, or there are too many.
    """
    fields = _fields(cls)
    names = {field.name for field in fields} - {"events"}
    optional = {field.name for field in fields if "None" in str(field.type)}
    parts = set(header) | set(tensors)
    if parts - names or (names - optional) - parts:
        raise QuantizationError(
            f"a {cls.format} weight has the parts {sorted(names)}, but {sorted(parts)} are stored"
        )
    absent = dict.fromkeys(optional - set(tensors))
    make: Callable[..., QuantizedWeight] = cls
    return make(**header, **absent, **tensors, events=events)


def _format_class(name: str) -> type[QuantizedWeight]:
    for load in (_import_modules, _import_entry_points):
        try:
            load()
        except RegistrationError as error:
            raise UnknownFormat(f"this weight has the format {name!r}, and {error}") from error
        for cls in QUANTIZERS.values():
            for packed in cls.formats:
                if packed.format == name:
                    return packed
    raise UnknownFormat(
        f"this weight has the format {name!r}, which no installed package knows: install the"
        " package that made it"
    )


def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)
