"""Stores with LUQ variants and measurements, and the reports that show them."""

from reports.records.schema import to_json
from reports.report.write import write_report
from tests.reports.builders import add_cell

ORIGIN = {
    "model": "mini",
    "alpha": 0.5,
    "calibration_seed": 0,
    "tokens": 8195,
    "image_token_share": 0.275,
    "command": "python -m harness",
}


def add_measurement(root, measurement, key="m"):
    (root / "measurements" / key).mkdir(parents=True)
    (root / "measurements" / key / "measurement.json").write_text(to_json(measurement))


def add_luq(root, number, k, score, **changes):
    variant = {"low": "billm-code", "variant": f"v{number}", **changes}
    add_cell(root, key=f"c{number}", method="luq", k=k, score=score, **variant)


def shown(root):
    """The page and the Markdown of a store."""
    write_report(root)
    return (root / "report" / "index.html").read_text(), (root / "leaderboard.md").read_text()
