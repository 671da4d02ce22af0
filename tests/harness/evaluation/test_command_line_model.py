"""lmms-eval's own command line gets the variant that its arguments name."""

import pytest

from harness.errors import ConfigError
from harness.evaluation.command_line_model import CommandLineModel, overrides_of
from harness.evaluation.plugin import manifests


def test_arguments_become_overrides_of_the_harness():
    others = {"k": 4, "calibration.alpha": 0, "max_batch_size": 64}
    assert overrides_of("luq", "mini", "runs", "cpu", others) == [
        "method=luq",
        "model=mini",
        "store=runs",
        "model.device=cpu",
        "method.k=4",
        "calibration.alpha=0",
    ]


def test_the_model_holds_the_variant_and_the_method_is_refused_if_unknown(tmp_path, narrow_model):
    options = {"store": str(tmp_path / "runs"), "model.path": str(narrow_model)}
    lm = CommandLineModel(variant="rtn2", batch_size="8", **options)
    assert lm.batch_size == 8
    weight = lm.loaded.blocks[0].mlp.up_proj.weight[0, :128]
    assert len(set(weight.tolist())) <= 4  # two bits a weight
    with pytest.raises(ConfigError, match="rtn1"):
        CommandLineModel(variant="rtn1", **options)


def test_the_plugin_names_the_class():
    (manifest,) = manifests()
    path = f"{CommandLineModel.__module__}.{CommandLineModel.__name__}"
    assert (manifest.model_id, manifest.simple_class_path) == ("luq", path)
