"""`python -m harness`."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

from harness import __version__
from harness.errors import ExitCode

HELP = ("--help", "-h")


def cli() -> None:
    """Console script: ends the process with an `ExitCode`."""
    interrupted = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal need not know every character
        sys.stdout.reconfigure(errors="replace")
    try:
        sys.exit(int(run(sys.argv[1:])))
    except BaseException as error:
        if not interrupted:  # a library may have made another error of the interrupt
            if isinstance(error, BrokenPipeError):  # `| head` has read enough
                os._exit(ExitCode.CLOSED)
            raise
        print("interrupted: the same command resumes where this one was", file=sys.stderr)
        sys.stderr.flush()
        os._exit(ExitCode.INTERRUPTED)  # threads and workers may still hold the interpreter


def run(arguments: list[str]) -> int:
    """Help and version are answered before anything heavy is imported."""
    if any(one in HELP for one in arguments):
        from harness.cli.help import print_help

        return print_help([one for one in arguments if not one.startswith("-")])
    if "--version" in arguments:
        print(f"luq-harness {__version__}")
        return ExitCode.OK
    # lmms-eval draws bars of its own; OpenMP workers that spin cost more than they give on small
    # machines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from harness.cli.main import main

    return main()


if __name__ == "__main__":
    cli()
