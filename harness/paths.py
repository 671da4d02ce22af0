"""Where the files that come with the harness lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
TASKS = ROOT / "tasks"
EMBEDDED = TASKS / "mini" / "weights"
