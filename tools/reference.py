"""`python -m tools.reference --write`: the pages of docs/reference that are made from the code.

`keys.md` has every key of the configuration with its type, default and help. `choices.md` has the
stages, and every file of the configuration's groups with its first line. Without `--write` both
are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from harness.config.choices import GROUPS, choices
from harness.config.keys import Group, read_groups
from harness.paths import ROOT
from harness.stages.registry import STAGES

FOLDER = ROOT / "docs" / "reference"
MADE_BY = "<!-- made by python -m tools.reference --write; do not edit -->"

KEYS = """\
# Keys of the configuration

Write `KEY=VALUE` behind `python -m harness`; `python -m harness --help KEY` prints a key's entry.
Keys below `method.low` and `method.high` are options of the quantizer ([methods](../methods.md));
an option that the file of the method does not name needs a plus: `+method.high.group=64`.

The defaults here are those of the schema. The files of [choices](choices.md) set others:
`method=luq` sets `method.k=4`, and a model sets its batch size and its calibration data through
the keys `model.batch_size` and `model.calibration_...`. `python -m harness --cfg job` prints the
configuration that a command would use.
"""

CHOICES = """\
# Stages, sweeps, models, methods, suites

The files of a group lie in `conf/GROUP`. `python -m harness stage=list` prints these tables.
"""


def pages() -> dict[str, str]:
    """The text of every generated page by its file name."""
    return {"keys.md": _page(_keys(read_groups())), "choices.md": _page(_choices())}


def _page(lines: Iterator[str]) -> str:
    return "\n".join([MADE_BY, *lines]).rstrip() + "\n"


def _keys(groups: Sequence[Group]) -> Iterator[str]:
    yield KEYS
    for group in groups:
        if not group.keys:
            continue
        yield f"## {group.name or 'without a group'}\n"
        yield f"{group.summary}\n"
        rows = [
            (f"`{key.name}`", f"`{key.type}`", f"`{key.default}`" if key.default else "", key.help)
            for key in group.keys
        ]
        yield from _table(("key", "type", "default", "meaning"), rows)


def _choices() -> Iterator[str]:
    yield CHOICES
    yield "## stage\n"
    stages = [
        (f"`stage={one.name}`", one.summary, f"each {one.once}", "yes" if one.report else "no")
        for one in STAGES.values()
    ]
    yield from _table(("choice", "what it does", "runs once for", "report follows"), stages)
    for group, written in GROUPS.items():
        yield f"## {group}\n"
        files = [(f"`{written}{name}`", summary) for name, summary in choices(group)]
        yield from _table(("choice", "what it is"), files)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table with an empty line behind it."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def main() -> None:
    """Print the pages, or write them with `--write`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/reference")
    write = parser.parse_args().write
    for name, text in pages().items():
        if write:
            (FOLDER / name).write_text(text, encoding="utf-8")
        else:
            print(text)


if __name__ == "__main__":
    main()
