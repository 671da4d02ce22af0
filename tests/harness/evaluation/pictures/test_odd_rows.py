"""Rows of anybody: without a picture, a column, a gold answer, or with another kind of value."""

import datasets
import pytest

from harness.config.schema import Config, ModelConfig, SuiteConfig
from harness.errors import CellError, ConfigError, RowError
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.evaluation import evaluate_suite
from harness.evaluation.registry import open_suites
from harness.failures import depends_on
from harness.store.store import Store
from tasks.paper.replicas import REPLICAS, replica

datasets.disable_progress_bars()
NAMES = sorted(REPLICAS)
STRING = datasets.Value("string")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """lmms-eval tries five times, with pauses, what fails while it loads data."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: None)


def rows_of(name):
    """(split, rows) of a replica of a published data set."""
    ((split, rows),) = replica(name, 8).items()
    return split, rows


def changed(rows, number, column, value):
    """The rows with another value in one of them."""
    values = [dict(row) for row in rows]
    values[number][column] = value
    return datasets.Dataset.from_list(values, rows.features)


def recast(rows, column, feature, convert):
    """The rows with another kind of value in a column."""
    values = [{**row, column: convert(row[column])} for row in rows]
    features = datasets.Features({**rows.features, column: feature})
    return datasets.Dataset.from_list(values, features)


def evaluate(embedded, tmp_path, name, split, rows):
    """The result of "yes" to every question of a data set made of these rows."""
    task, store = f"paper_{name}", Store(tmp_path / "runs")
    datasets.DatasetDict({split: rows}).save_to_disk(tmp_path / "data" / task)
    settings = SuiteConfig(name=task, folder="paper", tasks=[task], data=str(tmp_path / "data"))
    config = Config(model=ModelConfig(name="mini", path="mini"), suite=settings)
    lm = LuqModel(loaded=embedded, batch_size=64)
    lm._generate = lambda batch, _ahead=None: ["yes"] * len(batch)
    suite = open_suites(config, embedded, store)[task]
    return evaluate_suite(store, lm, suite, variant="v", limit=None, max_error_share=0.5)[1]


@pytest.mark.parametrize("name", NAMES)
def test_r16_a_row_without_a_picture_is_a_data_error_and_stays_in_the_denominator(
    embedded, tmp_path, name
):
    split, rows = rows_of(name)
    whole = evaluate(embedded, tmp_path / "whole", name, split, rows)
    pictures = [key for key, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    for column in pictures:
        rows = changed(rows, len(rows) - 1, column, None)
    result = evaluate(embedded, tmp_path, name, split, rows)
    assert (result.n, result.data_errors) == (whole.n, 1)
    assert [one.n for one in result.metrics] == [one.n for one in whole.metrics]


def odd_columns(rows):
    """(what is odd, rows with that) for every column of questions, answers and names."""
    for column, feature in rows.features.items():
        yield f"no {column}", rows.remove_columns(column)
        if isinstance(feature, datasets.Image):
            continue
        yield f"{column} is null in the last row", changed(rows, len(rows) - 1, column, None)
        if feature == STRING:
            number = datasets.Value("int64")
            yield f"{column} is a number", recast(rows, column, number, lambda _: 7)
            several = datasets.List(STRING)
            yield f"{column} is a list", recast(rows, column, several, lambda one: [one, one])


@pytest.mark.parametrize("name", NAMES)
def test_r37_an_odd_column_is_an_error_of_that_suite_or_does_not_matter(embedded, tmp_path, name):
    split, rows = rows_of(name)
    outcomes = {}
    for number, (what, odd) in enumerate(odd_columns(rows)):
        try:
            result = evaluate(embedded, tmp_path / str(number), name, split, odd)
            outcomes[what] = result.n == len(rows)
        except (CellError, ConfigError) as error:
            outcomes[what] = name in str(error).lower()
    assert len(outcomes) >= 10
    assert outcomes == dict.fromkeys(outcomes, True)


def test_r37_a_row_that_cannot_be_scored_is_named_and_not_tried_again(embedded, tmp_path):
    split, rows = rows_of("docvqa")
    odd = changed(rows, 5, "answers", None)
    with pytest.raises(RowError, match=r"DocVQA, row 5 of its data: \w+: .*line \d+") as caught:
        evaluate(embedded, tmp_path, "docvqa", split, odd)
    assert depends_on(caught.value, [])


@pytest.mark.parametrize("kind", ["lists", "paths"])
def test_r16_pictures_of_another_kind_in_every_row_give_no_score(embedded, tmp_path, kind):
    split, rows = rows_of("chartqa")
    if kind == "lists":
        odd = recast(rows, "image", datasets.List(datasets.Image()), lambda one: [one])
    else:
        odd = recast(rows, "image", STRING, lambda _: "picture.png")
    with pytest.raises((CellError, ConfigError), match=r"(?i)chartqa"):
        evaluate(embedded, tmp_path, "chartqa", split, odd)
