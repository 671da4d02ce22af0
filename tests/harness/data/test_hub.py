"""A data set that cannot be had is a configuration error that says what to do."""

import datasets
import httpx
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import GatedRepoError

from harness.data.hub import load_hub_dataset
from harness.errors import ConfigError

GATED = GatedRepoError(
    "refused", response=httpx.Response(403, request=httpx.Request("GET", "https://hub.example"))
)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (GATED, "the data set is gated. Accept its terms on the hub"),
        (DatasetNotFoundError("no such data set."), "no such data set. Check the name"),
        (ConnectionError("offline"), r"cannot be reached and no copy .* \(ConnectionError\)"),
    ],
)
def test_every_refusal_names_the_data_set_and_the_way_out(monkeypatch, error, advice):
    def refuse(*_args, **_options):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ConfigError, match=advice) as caught:
        load_hub_dataset("some/data", "v1", "train", what="suite=s", instead="give suite.data=FILE")
    assert str(caught.value).startswith("suite=s needs some/data (v1), split train: ")
    assert str(caught.value).endswith("or give suite.data=FILE")
