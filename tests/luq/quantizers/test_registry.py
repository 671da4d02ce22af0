"""What the registry says about a quantizer."""

import subprocess
import sys

import pytest

from luq import AWQ, GPTQ, RTN, SAGE, BiLLM, FullPrecision
from luq.quantizers.registry import describe_quantizer, quantizer_classes, quantizer_label
from tests.luq.cases import METHODS


def test_every_class_names_its_formats_and_where_it_was_published():
    for cls in quantizer_classes().values():
        assert cls.paper
        assert all(packed.format for packed in cls.formats)


@pytest.mark.parametrize(
    ("quantizer", "label"),
    [
        (GPTQ(), "gptq"),
        (GPTQ(bits=3, act_order=True), "gptq(bits=3, act_order=True)"),
        (BiLLM("fixed"), "billm(variant=fixed)"),
        (FullPrecision(perturbation=0.25), "none(perturbation=0.25)"),
    ],
)
def test_a_label_is_the_method_and_what_differs_from_its_defaults(quantizer, label):
    assert quantizer_label(quantizer) == label


def test_different_quantizers_have_different_labels():
    quantizers = [AWQ(), AWQ(3), RTN(), RTN(3), RTN(3, group=64), SAGE(), SAGE(groups=4)]
    assert len({quantizer_label(one) for one in quantizers}) == len(quantizers)
    assert len(METHODS) == len(set(METHODS.values()))


def test_a_description_is_the_method_and_every_option():
    assert describe_quantizer(GPTQ(3)) == {
        "method": "gptq",
        "bits": 3,
        "group": 128,
        "symmetric": False,
        "act_order": False,
        "static_groups": False,
        "block": 128,
        "damping": 0.01,
        "true_sequential": False,
        "scale_dtype": "float16",
    }
    assert describe_quantizer(FullPrecision()) == {
        "method": "none",
        "perturbation": 0.0,
        "seed": 0,
    }


def test_all_methods_are_registered_whatever_was_imported_before():
    code = (
        "import sys, luq.quantizers.registry as r; assert 'luq.quantizers.gptq' not in sys.modules;"
        "import luq.quantizers.sage; print(*r.quantizer_classes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(done.stdout.split())
    assert {"gptq", "sage"} < set(done.stdout.split())
