"""What the terminal says, with and without a terminal."""

import io

import pytest
from rich.console import Console

from harness.cli import display as display_module
from harness.cli.display import Display
from harness.progress import ALREADY, Eta, duration


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self):
        return self.now


def shown(monkeypatch, *, terminal, quiet=False):
    """A display and what it writes to."""
    target = io.StringIO()
    monkeypatch.setattr(
        display_module,
        "Console",
        lambda file: Console(file=target, force_terminal=terminal, width=100),
    )
    return Display(quiet=quiet), target


def test_remaining_time_is_that_of_the_rest_at_the_pace_so_far():
    clock = Clock()
    eta = Eta(10, clock)
    assert eta.remaining() is None
    clock.now, eta.done = 8.0, 4
    assert eta.remaining() == pytest.approx(12)
    clock.now, eta.done = 20.0, 10
    assert eta.remaining() == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (42, "42 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_are_told_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_without_a_terminal_every_cell_is_a_line_with_its_number_and_the_time_left(monkeypatch):
    display, target = shown(monkeypatch, terminal=False)
    with display:
        display.announce(3, 1, "3 cells, 1 done")
        display.finish_cell("fp on GQA", ALREADY)
        display.start_cell("gptq4 on GQA", 10)
        display.advance(10)
        display.finish_cell("gptq4 on GQA", "done, 95.0 (10 questions)")
        display.finish_cell("gptq4 on POPE", "FAILED: block 3")
    first, cached, one, two = target.getvalue().splitlines()
    assert (first, cached) == ("3 cells, 1 done", "fp on GQA: already done")
    assert one.startswith("[1/2] gptq4 on GQA: done, 95.0 (10 questions); about ")
    assert two == "[2/2] gptq4 on POPE: FAILED: block 3"
    assert "\x1b" not in target.getvalue()


def test_without_a_terminal_long_work_says_now_and_then_how_far_it_is(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(display_module, "Eta", lambda total: Eta(total, clock))
    display, target = shown(monkeypatch, terminal=False)
    with display:
        display.step("quantizing gptq4")
        for block in range(1, 33):
            clock.now += 10
            display.blocks("quantizing blocks", block, 32)
    lines = target.getvalue().splitlines()
    assert len(lines) == 10  # every thirty seconds, and not for the last one
    assert lines[0] == "  quantizing blocks: 4 of 32; about 5 min left"
    assert all(" left" in line for line in lines)


def test_on_a_terminal_there_are_bars_and_no_line_for_each_cell(monkeypatch):
    display, target = shown(monkeypatch, terminal=True)
    with display:
        display.announce(2, 0, "2 cells")
        display.blocks("calibrating blocks", 3, 8)
        display.start_cell("gptq4 on GQA", 10)
        display.advance(5)
        display._progress.refresh()
        display.finish_cell("gptq4 on GQA", "done")
    text = target.getvalue()
    for part in ("all cells", "gptq4 on GQA", "5/10"):
        assert part in text
    assert "gptq4 on GQA: done" not in text


def test_quiet_says_nothing(monkeypatch):
    display, target = shown(monkeypatch, terminal=False, quiet=True)
    with display:
        display.announce(1, 0, "1 cell")
        display.blocks("quantizing blocks", 1, 2)
        display.finish_cell("fp on GQA", "done")
        display.table(["a"], [["b"]])
    assert target.getvalue() == ""
