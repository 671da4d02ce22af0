"""Numbers and tables of cells, measurements and studies."""

import pytest

from harness.trackers.values import (
    add_study,
    cell_scalars,
    layer_table,
    leaderboard_table,
    mean_scalars,
    measurement_table,
)
from reports.records.measurements import Search
from reports.records.results import Block, Cell, MetricScore, SuiteResult
from reports.report.leaderboard import build
from reports.report.lines import CellResult
from reports.report.studies.study import Study
from tests.reports.builders import CELL as VARIANT
from tests.reports.builders import suite_result

CELL = {
    "model": "m",
    "method": "luq",
    "low": "rtn-2",
    "high": "rtn-4",
    "k": 1,
    "order": "depth",
    "alpha": 0.5,
    "calibration_seed": 0,
    "paper_bits": 3.0,
    "stored_bits": 3.25,
    "stored_bytes": 1024,
    "suite": "s",
    "limit": None,
    "variant": "v",
    "result": "r",
    "command": "",
    "seconds": 2.0,
    "events": ["block 1 a: damping raised", "block 10 b: damping raised"],
}


def result(score):
    low, high = (None, None) if score is None else (score - 0.1, score + 0.1)
    metric = MetricScore(
        metric="accuracy", score=score, ci_low=low, ci_high=high, n=4, maximum=1.0, primary=True
    )
    counts = {"n": 4, "errors": 1, "empty": 2, "unparseable": 0}
    return SuiteResult(
        suite="s", suite_title="S", limit=None, metrics=[metric], answers=[], **counts
    )


def test_scalars_of_a_cell_have_sizes_counts_and_intervals():
    values = cell_scalars(Cell(**CELL), result(0.5))
    assert values["stored_bytes"] == 1024
    assert (values["s/errors"], values["s/empty"], values["s/data_errors"]) == (1, 2, 0)
    assert [values[f"s/accuracy{part}"] for part in ("_low", "", "_high")] == pytest.approx(
        [0.4, 0.5, 0.6]
    )


def test_a_metric_without_a_score_has_no_scalar():
    assert not [name for name in cell_scalars(Cell(**CELL), result(None)) if "accuracy" in name]


def test_the_layer_table_counts_events_of_each_block():
    blocks = [Block(kept="rtn-4", paper_bits=4, stored_bits=4.25) for _ in range(2)]
    head, rows = layer_table(Cell(**CELL, blocks=blocks))
    assert [row[head.index("block")] for row in rows] == [0, 1]
    assert [row[head.index("events")] for row in rows] == [0, 1]
    assert rows[0][head.index("output error")] is None


def test_other_measurements_are_pairs_of_plain_values():
    search = Search.model_construct(scan=3, binary_asked=[3, 4])
    head, rows = measurement_table(search)
    values = dict(rows)
    assert len(head) == 2
    assert values["scan"] == 3
    assert values["binary_asked"] == "[3, 4]"


class Recorder:
    def __init__(self):
        self.calls = []

    def figure(self, name, svg):
        self.calls.append((name, svg))

    def table(self, name, head, rows):
        self.calls.append((name, list(head)))


def test_a_study_is_tracked_by_what_it_has():
    recorder = Recorder()
    add_study(recorder, Study("Empty", ""))
    assert recorder.calls == []
    add_study(recorder, Study("Both", "", svg="<svg/>", head=("", "score"), rows=[("a", "1")]))
    assert recorder.calls == [("Both", "<svg/>"), ("Both (table)", ["variant", "score"])]


def test_a_report_tracks_every_variant_with_its_mean_over_suites():
    rows = [
        CellResult(VARIANT.model_copy(update={"suite": name}), suite_result(scores, suite=name))
        for name, scores in (("a", [1, 0]), ("b", [1, 1]))
    ]
    board = build(rows, [], [])
    head, (line,) = leaderboard_table(board)
    assert dict(zip(head, line, strict=True)) == {
        "model": "mini",
        "variant": "gptq4",
        "paper bits": 4.0,
        "stored bits": 4.156,
        "stored bytes": 2_723_840,
        "mean": 50.0,
        "A": 50.0,
        "B": 50.0,
    }
    means = mean_scalars(board)
    low, mean, high = (means[f"mini gptq4/mean{part}"] for part in ("_low", "", "_high"))
    assert low < mean == 50.0 < high
