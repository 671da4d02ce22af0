"""`python -m harness`."""

from __future__ import annotations

import os
import sys


def cli() -> None:
    """Console script."""
    # lmms-eval draws bars of its own; OpenMP workers that spin cost more than they give on small
    # machines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from harness.cli.main import main

    sys.exit(main())


if __name__ == "__main__":
    cli()
