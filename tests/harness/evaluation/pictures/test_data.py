"""Data on disk and clusters of questions."""

import datasets
import pytest
from PIL import Image

from harness.errors import ConfigError
from harness.evaluation.pictures.data import clusters_of, local_data


class Task:
    """As much of an lmms-eval task as clusters need."""

    def __init__(self, rows):
        self.eval_docs = datasets.Dataset.from_list(rows)
        if "image" in self.eval_docs.column_names:
            self.eval_docs = self.eval_docs.cast_column("image", datasets.Image())
        self.eval_docs_no_media = self.eval_docs.remove_columns(
            [name for name in self.eval_docs.column_names if name == "image"]
        )


def test_a_missing_data_set_is_named(tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(ConfigError, match=r"has no data set two; it needs a folder for each of"):
        local_data(str(tmp_path), ["one", "two"])


def test_other_content_is_other_data(tmp_path):
    (tmp_path / "one").mkdir()
    identities = set()
    for text in ("1", "2"):
        (tmp_path / "one" / "state.json").write_text(text)
        identities.add(local_data(str(tmp_path), ["one"]).identity)
    assert len(identities) == 2


def test_clusters_are_a_columns_values_or_their_remainders():
    task = Task([{"index": 3}, {"index": 1_000_003}, {"index": 4}])
    assert clusters_of("s", task, {"cluster": "index"}) == ["3", "1000003", "4"]
    modulo = {"cluster": "index", "cluster_modulo": 1_000_000}
    assert clusters_of("s", task, modulo) == ["3", "3", "4"]


def test_the_same_picture_is_one_cluster():
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    task = Task([{"image": image} for image in (red, blue, red)])
    first, second, third = clusters_of("s", task, {"cluster_picture": "image"})
    assert first == third != second


@pytest.mark.parametrize("metadata", [{"cluster": "id"}, {"cluster_picture": "id"}])
def test_a_column_that_is_not_there_is_refused(metadata):
    with pytest.raises(ConfigError, match="no column 'id' to cluster by; it has index"):
        clusters_of("s", Task([{"index": 3}]), metadata)


def test_rows_without_a_value_or_a_picture_share_their_cluster_with_none():
    task = Task([{"index": 3}, {"index": None}, {"index": None}])
    for metadata in ({"cluster": "index"}, {"cluster": "index", "cluster_modulo": 10}):
        assert clusters_of("s", task, metadata) == ["3", "row 1", "row 2"]
    red = Image.new("RGB", (4, 4), "red")
    task = Task([{"image": red}, {"image": None}, {"image": red}, {"image": None}])
    first, second, third, fourth = clusters_of("s", task, {"cluster_picture": "image"})
    assert first == third
    assert len({first, second, fourth}) == 3


def test_a_column_of_other_values_cannot_be_clustered_by():
    with pytest.raises(ConfigError, match="task s: its data is clustered by the number in column"):
        clusters_of("s", Task([{"id": "a"}]), {"cluster": "id", "cluster_modulo": 10})
    task = Task([{"pictures": ["a.png", "b.png"]}])
    with pytest.raises(ConfigError, match=r"column 'pictures' of its data is .* one picture a row"):
        clusters_of("s", task, {"cluster_picture": "pictures"})
