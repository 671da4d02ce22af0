"""A quantizer from another package: the README's, installed and used."""

import re

import pytest

import luq.quantizers.registry
from harness.store.bank import StoredBank
from luq.decoder.blocks import BlockWeights
from luq.pipelines.contract import planted_layer
from luq.quantizers.registry import build_quantizer, installed_quantizers
from tests.paths import ROOT

README = ROOT / "README.md"


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
        monkeypatch.delitem(__import__("sys").modules, "their_package", raising=False)
        installed_quantizers.cache_clear()

    yield lay
    installed_quantizers.cache_clear()


def readme_example():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    return code


def test_the_readmes_backend_quantizes_packs_and_comes_back_from_the_store(install, store):
    install(readme_example())
    assert len(readme_example().splitlines()) <= 32
    quantizer = build_quantizer("sign", {"group": 64})
    weight, _ = planted_layer(out=8, inner=128)
    packed = quantizer(weight, None)
    assert ((packed.dequantize() >= 0) == (weight >= 0)).all()
    bank = StoredBank(store, "model/calibration")
    bank.save(0, quantizer, BlockWeights({"a": packed}))
    assert (bank.load(0, quantizer).linears["a"].dequantize() == packed.dequantize()).all()


def test_a_name_that_exists_and_an_object_that_is_no_quantizer_are_refused(install):
    install(readme_example().replace('"sign"', '"gptq"', 1))
    with pytest.raises(ValueError, match="is called 'gptq', and so is another quantizer"):
        build_quantizer("sign", {})
    install("Sign = 3\n")
    with pytest.raises(ValueError, match="is no quantizer"):
        build_quantizer("sign", {})


def test_without_other_packages_nothing_is_found():
    installed_quantizers.cache_clear()
    assert not set(luq.quantizers.installed_quantizers()) & set(luq.quantizers.QUANTIZERS)
