"""Options are checked where they are set: by the annotation of their field."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError

from luq.types import OptionError

Class = TypeVar("Class", bound=type)
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0)]


def checked_options(cls: Class) -> Class:
    """Let a dataclass check its options before anything is computed, as a decorator.

    An int is no bool, no str and no fraction; a float is finite; a field that is annotated with
    bounds, such as `Positive`, is inside them. Annotations that cannot be resolved check nothing.

    The class then raises OptionError, which names it, the option, its value and what is allowed.
    """
    initialize: Any = cls.__init__  # type: ignore[misc]
    if "__init__" not in vars(cls) or hasattr(initialize, "__wrapped__"):
        return cls  # a class that inherits this, or that is registered again
    signature = inspect.signature(initialize)

    @functools.wraps(initialize)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        name = getattr(cls, "method", cls.__name__)
        try:
            given = signature.bind(self, *args, **options).arguments
        except TypeError as error:
            known = ", ".join(field.name for field in dataclasses.fields(cls))
            raise OptionError(f"{name}: {error}; its options are {known}") from error
        for option, adapter in _adapters(cls).items():
            if option in given:
                _check(name, option, given[option], adapter)
        initialize(self, *args, **options)

    setattr(cls, "__init__", checked)  # noqa: B010 (mypy allows no assignment)
    return cls


@functools.cache
def _adapters(cls: type) -> Mapping[str, TypeAdapter[Any]]:
    """Return a strict validator of each field that has a usable annotation."""
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError:  # a name that is imported for type checkers only
        return {}
    adapters = {}
    for field in dataclasses.fields(cls):
        try:
            adapters[field.name] = TypeAdapter(
                hints[field.name], config=ConfigDict(strict=True, allow_inf_nan=False)
            )
        except PydanticUserError:  # a class that pydantic does not know
            continue
    return adapters


def _check(name: str, option: str, value: object, adapter: TypeAdapter[Any]) -> None:
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Input should be ")
        raise OptionError(f"{name}: {option} is {value!r}; it must be {problem}") from error


def require_quantizer(value: object, what: str) -> None:
    """Raise OptionError, naming `what`, unless the value is a quantizer."""
    if isinstance(value, type):
        raise OptionError(f"{what} is the class {value.__name__}; pass {value.__name__}()")
    if not (callable(value) and hasattr(value, "method") and hasattr(value, "formats")):
        raise OptionError(f"{what} is {value!r}; pass a quantizer, such as luq.GPTQ(bits=3)")
