"""`python -m tests.requirements --write`: docs/reliability.md, the tests of each requirement.

A test named `test_rN_...` shows requirement N. Without `--write` the page is printed.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.paths import ROOT

PAGE = ROOT / "docs" / "reliability.md"
REQUIREMENTS = {
    1: (
        "A sweep that is killed at any moment resumes with the same command; complete cells never"
        " run again; at most a batch is lost."
    ),
    2: (
        "Answers are keyed by the content of the weights, the processor, the question, its pictures"
        " and arguments, batch size and version."
    ),
    3: "Empty answers are stored and used again; errors are never stored as answers.",
    4: (
        "Errors, empty, unparseable and wrong answers are counted apart; too many errors fail the"
        " cell, which then has no score."
    ),
    5: "Processes that share a store lose no row, double none, and never crash.",
    6: "A damaged entry is noticed, set aside and made again.",
    7: (
        "A full disk is a clear error; what was complete stays intact, and the command can be run"
        " again."
    ),
    8: "Checkpoints are safetensors with a SHA-256 for each tensor, checked when they are loaded.",
    9: "NaN or infinity in activations, weights or Hessians stops that layer, with its name.",
    10: (
        "A singular Hessian raises the damping within bounds, which is reported; there is no silent"
        " fall-back to rounding."
    ),
    11: "Dead columns leave the calibration output as it is.",
    12: (
        "Calibration really ran: every linear was reached, and its output error is below that of"
        " rounding."
    ),
    13: "Tied weights are handled once, stay tied, and count once.",
    14: (
        "An unknown architecture, or a linear that is not where it should be, is refused before any"
        " work."
    ),
    15: (
        "Empty or short data, missing splits and impossible shares are errors that say so, never a"
        " mean of nothing."
    ),
    16: "A picture that cannot be read is a counted data error, the same for every variant.",
    17: (
        "Calibration and evaluation are disjoint by id, split and picture; answers never enter"
        " calibration."
    ),
    18: (
        "Budgets bind on packed bytes; what is unpacked equals what was evaluated, bit for bit;"
        " sizes are those of the files."
    ),
    19: "No code from data: safetensors and checked JSON alone.",
    20: "Configuration cannot run code; task files come from the package alone.",
    21: "Names cannot lead out of the store.",
    22: "Reports escape what they show, in HTML, Markdown and CSV.",
    23: (
        "The same seed gives the same plan and the same bits in every process; ties are broken by"
        " number."
    ),
    24: "The batch size is part of the result, and changes no answer.",
    25: (
        "Comparisons are paired question by question and clustered by picture; their false alarms"
        " and power are known."
    ),
    26: "The gate fails broken backends and passes the correct one.",
    27: "A failing cell stops nothing else; the exit code and the report say so.",
    28: "Everything works without a network and without keys; a static scorer is called one.",
    29: "No secret reaches store, logs or trackers; a tracker that fails fails nothing.",
    30: (
        "A model's identity covers every file that is read to build it; other forms of weights are"
        " refused; shards stay inside the folder."
    ),
    31: (
        "A checkpoint fits its configuration exactly: missing, unexpected or mismatched weights are"
        " refused by name."
    ),
    32: "What made an entry includes the code that made it.",
    33: "A quantizer cannot change what it is given, and what it raises is its cell's failure.",
    34: "A seal holds the kind and the key of its entry: an entry under another name is damage.",
    35: (
        "Compaction, reports, verify, gc and status are safe beside working processes and after a"
        " kill at any of their steps."
    ),
    36: "Only a store is ever cleaned; what cannot be read now is neither damage nor garbage.",
    37: (
        "Any exception in a cell is that cell's recorded failure, under every launcher; the report"
        " is made."
    ),
    38: "No entry, name or value can stop a report; it is shown as a problem.",
    39: (
        "Statistics claim no more than their questions: intervals have width, no p is below that of"
        " an exact test, and the gate says undecided."
    ),
    40: "Data starts no program and runs in bounded time and memory.",
    41: "An error names its true cause.",
    42: "A failed batch's memory is given back before it is tried again.",
}


@dataclass(frozen=True)
class Test:
    """A test that shows a requirement.

    Attributes:
        file: Below the root of the repository.
        name: Of the function.
        slow: Whether the default suite leaves it out.
    """

    file: str
    name: str
    slow: bool


def tests_by_requirement() -> dict[int, list[Test]]:
    """The tests of every requirement, by its number."""
    tests: dict[int, list[Test]] = {number: [] for number in REQUIREMENTS}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        nodes = ast.parse(path.read_text()).body
        module_marks = [
            node.value
            for node in nodes
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        ]
        for node in nodes:
            if isinstance(node, ast.FunctionDef) and (
                match := re.match(r"test_r(\d+)_", node.name)
            ):
                marks = map(ast.unparse, (*node.decorator_list, *module_marks))
                slow = any("pytest.mark.slow" in mark for mark in marks)
                tests[int(match[1])].append(Test(str(path.relative_to(ROOT)), node.name, slow))
    return tests


def page() -> Iterator[str]:
    """The page, line by line."""
    yield "# Reliability: what is promised, and the tests that show it"
    yield ""
    yield (
        "Made by `python -m tests.requirements --write` from the tests' names; *slow* ones run with"
        " `make storm` or `make test-all`."
    )
    yield ""
    yield "| # | requirement | tests |"
    yield "|---|---|---|"
    for number, tests in tests_by_requirement().items():
        names = [
            f"`{test.name.removeprefix(f'test_r{number}_')}`{' *(slow)*' if test.slow else ''}"
            f" in {test.file}"
            for test in tests
        ]
        yield f"| R{number} | {REQUIREMENTS[number]} | {'<br>'.join(names)} |"


def text() -> str:
    """The page."""
    return "\n".join(page()) + "\n"


def main() -> None:
    """Write or print the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.requirements", description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(text(), encoding="utf-8")
    else:
        print(text(), end="")  # noqa: T201


if __name__ == "__main__":
    main()
