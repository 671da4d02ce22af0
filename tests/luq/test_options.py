"""Options are refused where they are set, with the option, its value and what is allowed."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import pytest
from pydantic import Field

import luq
from luq.options import checked_options
from luq.quantizers.registry import build_quantizer
from luq.types import OptionError
from tests.luq.replicas import tiny_llama


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("gptq", {"bits": "3"}, "gptq: bits is '3'; it must be a valid integer"),
        ("gptq", {"bits": True}, "gptq: bits is True; it must be a valid integer"),
        ("gptq", {"bits": 2.5}, "gptq: bits is 2.5; it must be a valid integer"),
        ("gptq", {"act_order": "yes"}, "gptq: act_order is 'yes'; it must be a valid boolean"),
        ("gptq", {"block": 0}, "gptq: block is 0; it must be greater than or equal to 1"),
        ("gptq", {"damping": -0.5}, "gptq: damping is -0.5; it must be greater than or equal to 0"),
        ("gptq", {"damping": float("nan")}, "gptq: damping is nan; it must be a finite number"),
        ("billm", {"damping": float("inf")}, "billm: damping is inf; it must be a finite number"),
        ("billm", {"block": -3}, "billm: block is -3"),
        ("billm", {"salient_limit": 1}, "billm: salient_limit is 1"),
        ("pbllm", {"salient": "0.1"}, "pbllm: salient is '0.1'"),
        ("pbllm", {"block": None}, "pbllm: block is None"),
        ("rtn", {"group": None}, "rtn: group is None"),
        ("awq", {"scale_dtype": 16}, "awq: scale_dtype is 16; it must be a valid string"),
        ("sage", {"lut_bits": 1}, "sage: lut_bits is 1"),
        ("sage", {"salient_bits": 1}, "sage: salient_bits is 1"),
        ("sage", {"sample": 0}, "sage: sample is 0"),
        ("none", {"perturbation": float("nan")}, "none: perturbation is nan"),
    ],
)
def test_an_option_of_another_type_or_out_of_its_bounds_is_refused(method, options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        build_quantizer(method, options)


def test_whole_numbers_are_allowed_where_a_fraction_is():
    assert luq.GPTQ(damping=1).damping == 1


def test_an_option_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(OptionError, match=r"rtn: .*'bit'; its options are bits, group, symmetric"):
        luq.RTN(bit=3)


def test_a_changed_copy_is_checked_too():
    with pytest.raises(OptionError, match="gptq: block is 0"):
        replace(luq.GPTQ(), block=0)


@checked_options
@checked_options
@dataclass(frozen=True)
class Plugin:
    method: ClassVar[str] = "plugin"
    size: int | None = None
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    table: np.ndarray | None = None


def test_options_of_a_plugin_are_checked_by_what_it_declares():
    assert Plugin(None, 0.25, np.ones(1)).size is None
    for options in ({"size": "3"}, {"share": 1.0}, {"size": True}):
        with pytest.raises(OptionError, match=f"plugin: {next(iter(options))} is "):
            Plugin(**options)


@dataclass(frozen=True)
class Unresolved:
    size: "OnlyForTypeCheckers" = 1  # noqa: F821


def test_an_annotation_that_cannot_be_resolved_checks_nothing():
    assert checked_options(Unresolved)("any").size == "any"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model: luq.quantize(model, "gptq3"), "quantizer is 'gptq3'; pass a quantizer"),
        (lambda model: luq.quantize(model, luq.RTN), r"quantizer is the class RTN; pass RTN\(\)"),
        (lambda model: luq.LUQ(k="half"), "LUQ: k is 'half'; it must be a valid integer"),
        (lambda model: luq.LUQ(k=1, low=luq.BiLLM), "LUQ: low is the class BiLLM"),
        (lambda model: luq.LUQ(k=1, high=None), "LUQ: high is None; pass a quantizer"),
    ],
)
def test_what_is_no_quantizer_is_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make(tiny_llama(blocks=1))
