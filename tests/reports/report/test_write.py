"""The files of a report are complete, or what they were."""

import subprocess
import sys

import pytest

from reports.report import write
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


def test_r38_a_number_that_no_table_can_hold_is_a_problem_and_not_the_end(tmp_path):
    add_cell(tmp_path, key="c1")
    add_cell(tmp_path, key="c2", method="huge", stored_bytes=123_456_789)
    path = tmp_path / "cells" / "c2" / "cell.json"
    path.write_text(path.read_text().replace("123456789", str(2**63)))
    board, _ = write_report(tmp_path)
    assert [line.label for line in board.lines] == ["gptq4"]
    assert "stored_bytes" in board.problems[0].reason


@pytest.mark.parametrize(
    "name", ["half a \ud83d surrogate", "[bold]x[/]", "\x1b[31mred", "a$b$\\x"]
)
def test_r38_no_name_stops_the_report_of_the_others(tmp_path, name):
    add_cell(tmp_path, key="c1")
    add_cell(tmp_path, key="c2", method=name)
    board, _ = write_report(tmp_path)
    assert "gptq4" in [line.label for line in board.lines]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "gptq4" in page
    assert (len(board.lines) == 1) == bool(board.problems)


def test_r38_a_cell_that_a_writer_cannot_take_is_left_out_and_told(tmp_path, monkeypatch):
    real = write.markdown

    def markdown(board, studies):
        if any(line.label == "odd" for line in board.lines):
            raise OverflowError("of one value")
        return real(board, studies)

    monkeypatch.setattr(write, "markdown", markdown)
    add_cell(tmp_path, key="c1")
    add_cell(tmp_path, key="c2", method="odd")
    board, _ = write_report(tmp_path)
    assert [line.label for line in board.lines] == ["gptq4"]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "odd on mini_pope cannot be shown: OverflowError: of one value" in page


def test_r38_what_fails_with_every_cell_is_raised_and_the_old_report_stays(tmp_path, monkeypatch):
    add_cell(tmp_path)
    write_report(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr("reports.report.write.page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path)
    assert contents(tmp_path) == before


def test_r35_reports_written_at_once_are_each_complete(tmp_path):
    for number in range(4):
        add_cell(tmp_path, key=f"c{number}", method=f"m{number}", stored_bits=4 + number)
    code = (
        "import sys; from pathlib import Path; from reports.report.write import write_report\n"
        "for _ in range(4): write_report(Path(sys.argv[1]))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in running]
    assert [code for _, code in ends] == [0, 0, 0], ends
    both = contents(tmp_path)
    write_report(tmp_path)
    assert contents(tmp_path) == both
    assert list((tmp_path / "partial").iterdir()) == []
