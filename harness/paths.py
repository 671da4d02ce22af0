"""Where the files that come with the harness lie."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
# In an installed wheel the configuration is data of this package; in a clone it lies beside it.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else ROOT / "conf"
TASKS = ROOT / "tasks"
EMBEDDED = TASKS / "mini" / "weights"
