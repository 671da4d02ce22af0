"""Provenance names what a result may depend on."""

from importlib.metadata import version

import torch

from harness.provenance import PACKAGES, provenance


def test_provenance_names_every_package_the_hardware_and_the_type():
    made = provenance(torch.device("cpu"), "float32")
    assert {name: made[name] for name in PACKAGES} == {name: version(name) for name in PACKAGES}
    assert "CPU" in made["hardware"]
    assert f"{torch.get_num_threads()} threads" in made["hardware"]
    assert made["dtype"] == "float32"
