"""`python -m bench`, from the repository's root: ratios of time and memory.

Each compares two ways to the same result, measured in turn in one process; the median over pairs of
runs is printed, with the range. About twenty minutes; `--sizes 2048` is quicker.
"""

from __future__ import annotations

import argparse

import torch

from bench.answering import bench_answering
from bench.memory import bench_memory
from bench.quantizers import bench_linears, bench_searches
from bench.sweep import bench_sweep
from bench.upkeep import bench_upkeep


def main() -> None:
    """Print every ratio."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs behind each ratio")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2048, 4096], help="of the square linears"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    print(
        f"{options.device}, {torch.get_num_threads()} threads; ratios of seconds, median (range) of"
        f" {options.repeats} pairs in one process"
    )
    bench_searches(options.repeats, options.device)
    bench_memory()
    bench_linears(options.repeats, options.device, tuple(options.sizes))
    bench_sweep(1)
    bench_answering(options.repeats)
    bench_upkeep()


if __name__ == "__main__":
    main()
