"""The paper's own numbers, as they were printed."""

import csv

import pytest

from reports.paper.numbers import BACKBONES, paper_rows, published
from tests.paths import SHARED

PAPER = SHARED / "paper"
needs_shared = pytest.mark.skipif(not PAPER.is_dir(), reason="needs ../shared/paper")


@needs_shared
@pytest.mark.parametrize("table", [1, 2, 3])
def test_the_carried_scores_are_those_of_the_papers_tables(table):
    with (PAPER / f"table{table}.csv").open() as file:
        printed = [
            (r["backbone"], r["method"], float(r["avg_bits"]), r["benchmark"], float(r["score"]))
            for r in csv.DictReader(file)
        ]
    ours = [
        (p.backbone, p.method, p.paper_bits, p.benchmark, p.score)
        for p in published()
        if p.table == table
    ]
    assert ours == printed
    assert all(p.source == f"LUQ, TMLR 2026, table {p.table}" for p in published())


def test_the_stated_bits_of_luq_are_those_of_its_rows_in_the_tables():
    for backbone in BACKBONES:
        rows = {p.paper_bits for p in published() if p.method == backbone.luq}
        assert rows == {backbone.average_bits}
        assert backbone.mean_bits() == pytest.approx(backbone.average_bits, abs=0.005)


def test_every_table_of_the_folder_can_be_read():
    assert len(paper_rows("scores.csv")) == 200
    assert {row["engine"] for row in paper_rows("deployment.csv")} == {"llama.cpp"}
    assert len(paper_rows("claims.csv")) == 17
