"""A new quantizer by the recipe of the documentation: in a package, and as a file of luq."""

import re
import sys

import pytest

import luq.quantizers
from harness.config.schema import MethodConfig
from harness.store.bank import StoredBank
from harness.variants.quantizers import build, code_of
from luq.decoder.blocks import BlockWeights
from luq.pipelines.contract import contract_cases, contract_checks
from luq.pipelines.synthetic import synthetic_layer
from luq.quantizers import registry
from luq.quantizers.code import _package_code
from luq.quantizers.registry import build_quantizer, quantizer_classes, rebuild_weight
from luq.types import RegistrationError, UnknownFormat
from tests.paths import ROOT

RECIPE = ROOT / "docs" / "extending" / "quantizer.md"


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """A registry that forgets afterwards what the test registered."""
    monkeypatch.setattr(registry, "QUANTIZERS", quantizer_classes())  # without plugins
    registry._import_entry_points.cache_clear()
    yield
    registry._import_entry_points.cache_clear()
    registry._import_modules.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a package and its metadata out as pip does, on a path of its own."""

    def lay(code, value="their_package:Sign"):
        (tmp_path / "their_package.py").write_text(code)
        info = tmp_path / "their_package-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[luq.quantizers]\nsign = {value}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "their_package", raising=False)
        registry._import_entry_points.cache_clear()

    return lay


@pytest.fixture
def add_file(tmp_path, monkeypatch):
    """Put a module into luq's folder of quantizers, by a second folder of the package."""

    def add(code):
        (tmp_path / "sign.py").write_text(code)
        monkeypatch.setattr(luq.quantizers, "__path__", [*luq.quantizers.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, "luq.quantizers.sign", raising=False)
        registry._import_modules.cache_clear()

    yield add
    sys.modules.pop("luq.quantizers.sign", None)


def recipe():
    code, *_ = re.findall(r"```python\n(.*?)```", RECIPE.read_text(), re.S)
    assert len(code.splitlines()) < 50
    return code


def without_decorator():
    return recipe().replace("@register\n", "")


@pytest.mark.parametrize("code", [recipe, without_decorator])
def test_the_recipe_in_a_package_quantizes_packs_and_comes_back_from_the_store(
    install, store, code
):
    install(code())
    quantizer = build_quantizer("sign", {"group": 64})
    weight, _ = synthetic_layer(out=8, inner=128)
    packed = quantizer(weight, None)
    assert ((packed.dequantize() >= 0) == (weight >= 0)).all()
    bank = StoredBank(store, "model/calibration")
    bank.save(0, quantizer, BlockWeights({"a": packed}))
    assert (bank.load(0, quantizer).linears["a"].dequantize() == packed.dequantize()).all()


def test_r32_blocks_and_cells_of_a_quantizer_whose_code_changed_are_not_used(install, store):
    options = {"method": "sign", "group": 64}

    def keys(code):
        install(code)
        _package_code.cache_clear()  # as in another process
        quantizer = build(options, "method.high")
        key = StoredBank(store, "model/calibration").key(0, quantizer)
        return key, code_of(MethodConfig(name="sign", high=options))

    first = keys(recipe())
    assert keys(recipe()) == first
    second = keys(recipe().replace("g.abs().mean(", "0.5 * g.abs().mean("))
    assert second[0] != first[0]
    assert second[1] != first[1]


def test_the_recipe_as_a_file_of_luq_is_registered_and_tested_like_every_other_method(add_file):
    assert "sign" not in quantizer_classes()
    add_file(recipe())
    classes = quantizer_classes()
    assert classes["sign"].__module__ == "luq.quantizers.sign"
    cases = contract_cases([classes["sign"]])
    assert list(cases) == ["sign"]
    for check in contract_checks(cases["sign"]).values():
        check(cases["sign"], 0)
    packed = build_quantizer("sign", {})(synthetic_layer(out=8, inner=128)[0], None)
    again = rebuild_weight(packed.format, packed.header(), packed.tensors())
    assert (again.dequantize() == packed.dequantize()).all()


def test_a_package_is_imported_only_for_a_method_or_format_that_luq_does_not_have(install):
    install("raise AssertionError('imported')\n")
    build_quantizer("gptq", {})
    with pytest.raises(RegistrationError, match="cannot be loaded: AssertionError: imported"):
        build_quantizer("sign", {})
    with pytest.raises(UnknownFormat, match=r"'two_values', and entry point sign .* cannot be"):
        rebuild_weight("two_values", {}, {})


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"sign"', '"gptq"', r"Sign is called 'gptq', and so is luq\.quantizers\.gptq\.GPTQ"),
        ('"two_values"', '"grid"', r"has the format 'grid', and so has .*GridWeight"),
        ("@dataclass(frozen=True)", "@dataclass", "is no quantizer: it must be a frozen dataclass"),
        ("needs_stats", "needs_statistics", "is no quantizer: it must say in `needs_stats`"),
        ("formats: ClassVar[tuple] = (TwoValues,)", "", "is no quantizer: it needs the classes of"),
        ("__call__", "quantize", "is no quantizer: it needs `__call__"),
    ],
)
@pytest.mark.parametrize("code", [recipe, without_decorator])
def test_a_class_that_is_no_quantizer_or_takes_a_name_is_refused(install, code, old, new, reason):
    assert old in code()
    install(code().replace(old, new))
    with pytest.raises(ValueError, match=rf"entry point sign \(their_package:Sign\).*{reason}"):
        build_quantizer("sign", {})


def test_an_object_that_is_no_class_is_refused(install):
    install("Sign = 3\n")
    with pytest.raises(ValueError, match="3 is no quantizer: it must be a frozen dataclass"):
        build_quantizer("sign", {})


def test_a_module_that_is_imported_again_replaces_its_own_class(add_file):
    add_file(recipe())
    first = quantizer_classes()["sign"]
    add_file(recipe())
    assert quantizer_classes()["sign"] is not first


def test_luq_itself_needs_no_entry_point():
    builtin = quantizer_classes()
    assert all(cls.__module__.startswith("luq.quantizers.") for cls in builtin.values())
    assert "external" in set(quantizer_classes(plugins=True)) - set(builtin)
