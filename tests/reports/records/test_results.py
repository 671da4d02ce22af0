"""The records of results: what earlier schemas wrote is read as it was meant."""

import pytest

from reports.records.results import SuiteResult
from tests.reports.builders import CELL, suite_result


@pytest.mark.parametrize(("maximum", "statistic"), [(1.0, "mean"), (400.0, "mme")])
def test_scores_of_the_first_schema_get_the_statistic_that_they_had(maximum, statistic):
    written = suite_result([1, 0]).model_dump()
    del written["metrics"][0]["statistic"]
    written["metrics"][0]["maximum"] = maximum
    assert SuiteResult(**{**written, "schema_version": 1}).metrics[0].statistic == statistic
    assert SuiteResult(**written).metrics[0].statistic == "mean"


@pytest.mark.parametrize("metrics", [3, [3], None])
def test_damaged_metrics_of_the_first_schema_are_refused_as_any_others(metrics):
    written = {**suite_result([1]).model_dump(), "schema_version": 1, "metrics": metrics}
    with pytest.raises(ValueError, match="metrics"):
        SuiteResult(**written)


GPTQ_4, BILLM = {"method": "gptq", "bits": 4}, {"method": "billm", "variant": "code"}


def cell(**values):
    return CELL.model_copy(update=values)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ({"low": "none", "high": "none"}, None, None),
        ({"low": "none", "high": "gptq-4"}, None, GPTQ_4),
        ({"low": "billm-code", "high": "gptq-4"}, BILLM, GPTQ_4),
        # Recorded as data: names do not matter, nor options that nobody asks for.
        (
            {"low": "none", "high": "my own name", "high_quantizer": {**GPTQ_4, "group": 64}},
            None,
            GPTQ_4,
        ),
        (
            {"low": "b", "high": "g", "low_quantizer": BILLM, "high_quantizer": GPTQ_4},
            BILLM,
            GPTQ_4,
        ),
    ],
)
def test_a_variant_is_known_by_its_quantizers_and_old_ones_by_their_names(values, low, high):
    variant = cell(**values)
    assert variant.uses(low, high)
    for other in (None, {"method": "rtn", "bits": 4}, {"method": "gptq", "bits": 3}):
        if other != high:
            assert not variant.uses(low, other)
        if other != low:
            assert not variant.uses(other, high)


def test_recorded_data_counts_more_than_a_name():
    variant = cell(high="gptq-4", high_quantizer={"method": "gptq", "bits": 3})
    assert not variant.uses(None, GPTQ_4)


@pytest.mark.parametrize("values", [{"budget_bits": 3.0}, {"candidates": [GPTQ_4]}])
def test_a_variant_that_chooses_among_candidates_is_none_of_them(values):
    assert not cell(high="gptq-4", **values).uses(None, GPTQ_4)


@pytest.mark.parametrize(
    "values",
    [
        {"high": "none-0.00390625"},
        {"high_quantizer": {"method": "none", "perturbation": 2**-8, "seed": 0}},
    ],
)
def test_a_perturbed_copy_is_not_full_precision(values):
    assert not cell(low="none", **values).uses(None, None)
    plain = {"method": "none", "perturbation": 0.0, "seed": 3}
    assert cell(low="none", high_quantizer=plain).uses(None, None)


def test_events_of_a_block_come_without_its_number():
    events = ["block 0 q: damping 0.1", "block 01 x", "block 1 k: dead columns", "other"]
    assert cell(events=events).events_of(0) == ["q: damping 0.1"]
