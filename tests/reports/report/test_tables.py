"""The tables: a row for each metric, with the same columns in CSV and Parquet."""

import csv

import pyarrow.parquet

from reports.report.tables import RESULT_COLUMNS
from reports.report.write import write_report
from tests.reports.builders import add_cell


def test_every_metric_is_a_row_with_the_promised_columns(tmp_path):
    add_cell(tmp_path)
    write_report(tmp_path)
    (row,) = csv.DictReader((tmp_path / "results.csv").open())
    assert tuple(row) == RESULT_COLUMNS
    assert (row["score"], row["ci_low"], row["ci_high"], row["n"]) == ("0.8", "0.7", "0.9", "10")
    assert (row["errors"], row["empty"], row["unparseable"]) == ("0", "1", "2")
    assert row["stored_bytes"] == "2723840"


def test_the_parquet_file_has_the_columns_and_rows_of_the_table(tmp_path):
    write_report(tmp_path)
    assert pyarrow.parquet.read_table(tmp_path / "results.parquet").column_names == list(
        RESULT_COLUMNS
    )
    add_cell(tmp_path)
    write_report(tmp_path)
    (row,) = pyarrow.parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert (row["method"], row["score"], row["stored_bytes"], row["budget_bits"]) == (
        "gptq4",
        0.8,
        2_723_840,
        None,
    )
