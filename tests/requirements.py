"""`python -m tests.requirements --write`: docs/reliability.md, which says by what tests each
requirement is shown.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
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
    3: "Empty answers are kept and replayed; errors are never kept as answers.",
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
        "A singular Hessian raises the damping within bounds, which is told; there is no silent"
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
}


def shown_by() -> dict[int, list[tuple[str, str, bool]]]:
    """By requirement:

    (file, test, whether it is marked slow) of every test with its number in the name.
    """
    found: dict[int, list[tuple[str, str, bool]]] = {number: [] for number in REQUIREMENTS}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        nodes = ast.parse(path.read_text()).body
        of_all = [
            node.value
            for node in nodes
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        ]
        for node in nodes:
            if isinstance(node, ast.FunctionDef) and (
                match := re.match(r"test_r(\d+)_", node.name)
            ):
                slow = any(
                    "pytest.mark.slow" in ast.unparse(mark)
                    for mark in (*node.decorator_list, *of_all)
                )
                found[int(match[1])].append((str(path.relative_to(ROOT)), node.name, slow))
    return found


def page() -> Iterator[str]:
    yield "# Reliability: what is promised, and the tests that show it"
    yield ""
    yield (
        "Made by `python -m tests.requirements --write` from the tests' names; *slow* ones run with"
        " `make storm` or `make test-all`."
    )
    yield ""
    yield "| # | requirement | tests |"
    yield "|---|---|---|"
    for number, tests in shown_by().items():
        names = [
            f"`{name.removeprefix(f'test_r{number}_')}`{' *(slow)*' if slow else ''} in {file}"
            for file, name, slow in tests
        ]
        yield f"| R{number} | {REQUIREMENTS[number]} | {'<br>'.join(names)} |"


def text() -> str:
    return "\n".join(page()) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(text())
    else:
        print(text(), end="")  # noqa: T201
