"""Every variant of a store has a name of its own, and one name is one variant."""

import pytest

from reports.report.labels import agree, settings_of
from reports.report.leaderboard import build
from reports.report.lines import CellResult
from reports.report.noise import noise_floors
from reports.report.read import read_store
from tests.reports.builders import CELL, add_cell, suite_result


def gptq(**options):
    return {"method": "gptq", "bits": 4, "group": 128, **options}


def labels(*cells):
    rows = [CellResult(CELL.model_copy(update=cell), suite_result([1, 0, 1])) for cell in cells]
    return sorted(line.label for line in build(rows, [], []).lines)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            {"high_quantizer": gptq()},
            {"high_quantizer": gptq(group=64)},
            ["gptq4, high.group 128", "gptq4, high.group 64"],
        ),
        (
            {"calibration": {"tokens": 512, "text": "mini"}},
            {"calibration": {"tokens": 4096, "text": "mini"}},
            ["gptq4, calibration.tokens 4096", "gptq4, calibration.tokens 512"],
        ),
        ({"alpha": 0.5}, {"alpha": 1.0}, ["gptq4, alpha 0.5", "gptq4, alpha 1"]),
        ({"high": "gptq-4"}, {"high": "rtn-4"}, ["gptq4 of gptq-4", "gptq4 of rtn-4"]),
    ],
)
def test_variants_of_one_name_are_told_apart_by_what_differs(first, second, expected):
    assert labels(first, second) == expected
    assert labels(first) == ["gptq4"]


def test_suites_of_one_variant_are_one_line():
    assert labels({"suite": "a"}, {"suite": "b"}) == ["gptq4"]


def test_a_cell_of_an_earlier_version_that_says_less_is_the_same_variant():
    new = {"high_quantizer": gptq(), "calibration": {"tokens": 512}, "suite": "b"}
    assert labels({"suite": "a"}, new) == ["gptq4"]
    settings = settings_of(CELL.model_copy(update=new))
    assert agree(settings_of(CELL), settings)
    assert not agree(settings | {"high.bits": 3}, settings)


def test_variants_that_differ_in_an_option_do_not_hide_each_other_in_a_store(tmp_path):
    add_cell(tmp_path, key="c1", high_quantizer=gptq())
    add_cell(tmp_path, key="c2", high_quantizer=gptq(group=64))
    rows, _, problems = read_store(tmp_path)
    assert (len(rows), problems) == (2, [])


@pytest.mark.parametrize(
    ("changes", "floors"),
    [
        ([{"variant": "v0"}, {"variant": "v1"}], 1),
        ([{"variant": "v0"}, {"variant": "v0"}], 0),  # the seed changes no weight
        ([{"variant": "v0"}, {"variant": "v1", "calibration": {"tokens": 4096}}], 0),
    ],
)
def test_only_repeats_whose_weights_depend_on_the_seed_make_a_noise_floor(changes, floors):
    usual = {"calibration": {"tokens": 512}}
    rows = [
        CellResult(
            CELL.model_copy(update=usual | {"calibration_seed": seed} | change),
            suite_result([1, 0, 1, seed]),
        )
        for seed, change in enumerate(changes)
    ]
    assert len(noise_floors(build(rows, [], []).lines)) == floors


def test_repeats_on_other_numbers_of_questions_make_no_noise_floor():
    rows = [
        CellResult(
            CELL.model_copy(update={"calibration_seed": seed, "variant": f"v{seed}"}),
            suite_result([1, 0, 1] * (1 + seed)),
        )
        for seed in range(2)
    ]
    assert noise_floors(build(rows, [], []).lines) == []
