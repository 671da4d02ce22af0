"""The files of a report are complete, or what they were."""

import subprocess
import sys

import pytest

from reports.report.write import FILES, write_report
from tests.reports.builders import add_cell


def contents(root):
    return {name: (root / name).read_bytes() for name in FILES}


def test_the_same_store_gives_the_same_files(tmp_path):
    add_cell(tmp_path)
    write_report(tmp_path)
    before = contents(tmp_path)
    write_report(tmp_path)
    assert contents(tmp_path) == before


def test_r7_a_full_disk_leaves_the_old_report_as_it_was(tmp_path):
    """RLIMIT_FSIZE in a process of its own: writes beyond 4 KiB fail as on a full disk."""
    add_cell(tmp_path)
    write_report(tmp_path)
    before = contents(tmp_path)
    add_cell(tmp_path, key="c2", method="gptq2", high="gptq-2")
    script = f"""
import resource, signal
from pathlib import Path
from reports.report.write import write_report
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_report(Path({str(tmp_path)!r}))
except OSError as error:
    print("refused", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "refused" in done.stdout
    assert contents(tmp_path) == before
    write_report(tmp_path)
    assert "gptq2" in (tmp_path / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"\x80\x04.", b'{"schema_version": 1e999}', b"NaN", b"", b'{"a": 1, "a": 2}'],
)
@pytest.mark.parametrize(
    "file",
    [
        "cells/c1/cell.json",
        "results/rc1/result.json",
        "failures/f.json",
        "measurements/m/measurement.json",
    ],
)
def test_r19_whatever_lies_in_a_store_is_reported_and_the_rest_is_shown(tmp_path, file, content):
    add_cell(tmp_path)
    add_cell(tmp_path, key="c2", method="gptq2", high="gptq-2")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(content)
    board, _ = write_report(tmp_path)
    assert any(problem.path.endswith(file) for problem in board.problems)
    assert "gptq2" in {line.label for line in board.lines}
