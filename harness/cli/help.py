"""`--help`: stages, sweeps, models, methods, suites, and what every key means."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from harness.config.choices import GROUPS, choices
from harness.config.keys import Group, Key, read_groups
from harness.errors import ExitCode
from harness.stages.registry import STAGES

USAGE = """\
usage: python -m harness [KEY=VALUE ...]

  python -m harness                          LUQ at k=4 on the embedded model, nine suites
  python -m harness +sweep=first_look        eight variants compared
  python -m harness method=gptq3 limit=100   one variant, 100 questions a suite
  python -m harness --help KEY               a key (calibration.alpha) or a group of keys (method)
  python -m harness --help keys              every key
  python -m harness --cfg job [...]          the composed configuration (Hydra)

Values: a,b,c runs each with -m (method=gptq4,gptq3 -m); so do range(0,9) and glob(rtn*).
"""


def print_help(topics: Sequence[str]) -> int:
    """Print the help of everything, of keys, or of groups of keys.

    Args:
        topics: Names of keys or groups; `keys` for all; none for the overview.
    """
    if not topics:
        print(overview())
        return ExitCode.OK
    groups = read_groups()
    for topic in topics:
        keys = _find(groups, topic)
        if not keys:
            names = ", ".join(group.name for group in groups if group.name)
            print(
                f"no key {topic!r}: give a key such as calibration.alpha, a group ({names}), or "
                "`keys` for all",
                file=sys.stderr,
            )
            return ExitCode.BAD_CONFIG
        print("\n".join(_key_lines(keys)))
    return ExitCode.OK


def overview() -> str:
    """Usage, and every choice with a line."""
    parts = [USAGE, *_section("stages (stage=)", [(s.name, s.summary) for s in STAGES.values()])]
    for group, written in GROUPS.items():
        parts += _section(f"{_plural(group)} ({written})", choices(group))
    groups = [(group.name or "(none)", group.summary) for group in read_groups()]
    parts += _section("groups of keys (--help GROUP)", groups)
    return "\n".join(parts)


def _plural(group: str) -> str:
    return group if group == "calibration" else f"{group}s"


def _section(title: str, rows: Sequence[tuple[str, str]]) -> Iterable[str]:
    width = max(len(name) for name, _ in rows) + 2
    lines = [
        textwrap.shorten(text, max(40, _columns() - width - 2), placeholder=" ...")
        for _, text in rows
    ]
    yield title
    yield from (f"  {name:<{width}}{line}" for (name, _), line in zip(rows, lines, strict=True))
    yield ""


def _columns() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def _find(groups: Sequence[Group], topic: str) -> list[Key]:
    topic = topic.lstrip("+~").split("=")[0]
    return [
        key
        for group in groups
        for key in group.keys
        if topic in ("keys", key.name) or (group.name and topic == group.name)
    ]


def _key_lines(keys: Sequence[Key]) -> Iterable[str]:
    for key in keys:
        default = f" = {key.default}" if key.default else ""
        yield f"{key.name}: {key.type}{default}"
        yield textwrap.indent(textwrap.fill(key.help, min(96, _columns() - 4)), "    ")
