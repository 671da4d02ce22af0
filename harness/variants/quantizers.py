"""From the options of a configuration to quantizers, and back to names and recorded data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.config.schema import MethodConfig
from harness.errors import ConfigError
from luq.decoder.blocks import needs_calibration
from luq.quantizers.code import code_digest
from luq.quantizers.registry import build_quantizer, describe_quantizer
from luq.types import Quantizer

Options = Mapping[str, Any]
NONE = "none"  # the name of full precision


def build(options: Options | None, key: str) -> Quantizer | None:
    """Build the quantizer of a configuration.

    Args:
        options: The name of a registered quantizer under `method` and its fields, as in
            `{method: gptq, bits: 4}`; None or empty for full precision.
        key: The configuration key that holds the options, for error messages.

    Returns:
        The quantizer, or None for full precision.

    Raises:
        ConfigError: The options have no `method`, or the quantizer refuses them.
    """
    if not options:
        return None
    fields = dict(options)
    method = fields.pop("method", None)
    if not isinstance(method, str):
        raise ConfigError(
            f"{key} needs a `method`, for instance {{method: gptq, bits: 4}}; it has"
            f" {sorted(fields)}"
        )
    try:
        return build_quantizer(method, fields)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}: {error}") from error


def candidates_of(method: MethodConfig) -> list[Quantizer]:
    """Build the candidates of `method=allocated`, in their order.

    Raises:
        ConfigError: Naming the key of a quantizer that cannot be built.
    """
    return _built({f"method.candidates[{i}]": one for i, one in enumerate(method.candidates)})


def quantizers_of(method: MethodConfig) -> list[Quantizer]:
    """Build every quantizer that a method names: low, high, then the candidates.

    Raises:
        ConfigError: Naming the key of a quantizer that cannot be built.
    """
    ends = _built({"method.low": method.low, "method.high": method.high})
    return [*ends, *candidates_of(method)]


def _built(options: Mapping[str, Options | None]) -> list[Quantizer]:
    built = (build(one, key) for key, one in options.items())
    return [quantizer for quantizer in built if quantizer is not None]


def uses_calibration(method: MethodConfig) -> bool:
    """Whether a variant of the method depends on calibration data: by the weights of its blocks or
    by the choice of the blocks that are quantized low.

    Raises:
        ConfigError: As `quantizers_of` does.
    """
    chosen_by_data = bool(method.low or method.candidates)
    return chosen_by_data or any(map(needs_calibration, quantizers_of(method)))


def code_of(method: MethodConfig) -> list[str]:
    """Digests of the code of each quantizer of a method, in the order of `quantizers_of`.

    Raises:
        ConfigError: As `quantizers_of` does.
    """
    return [code_digest(type(quantizer)) for quantizer in quantizers_of(method)]


def quantizer_name(options: Options | None) -> str:
    """A short name for people: the method with its bits or variant, such as `gptq-4`.

    Two quantizers may have one name; `quantizer_record` tells them apart.
    """
    if not options:
        return NONE
    detail = options.get("bits", options.get("variant", options.get("perturbation", "")))
    return f"{options.get('worker') or options['method']}{'-' if detail != '' else ''}{detail}"


def quantizer_record(options: Options | None) -> dict[str, Any] | None:
    """A quantizer as data for a cell: `method` and every field, defaults included.

    Returns:
        None for full precision.
    """
    quantizer = build(options, "method")
    return None if quantizer is None else describe_quantizer(quantizer)
