"""`python -m tests.mutants`: faults planted in guarded code, and whether its tests notice them.

Each fault is one change of a copy of the repository; the tests that guard the place must fail
there. Without the fault they pass, which the default suite shows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.paths import ROOT

COPIED = ("harness", "luq", "reports", "tasks", "conf", "tests", "tools", "docs", "examples")


@dataclass(frozen=True)
class Mutant:
    """A planted fault.

    Attributes:
        what: The fault in words.
        file: The file that has it.
        old: Its text.
        new: What stands there instead.
        tests: The tests that guard the place: what pytest is given.
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "compaction removes the file it has just written",
        "harness/store/answers.py",
        "if path != kept:",
        "if True:",
        ("tests/harness/store/test_kills.py", "tests/harness/store/test_answers.py"),
    ),
    Mutant(
        "an entry under another's name is believed",
        "reports/records/sealed_json.py",
        'if entry and entry != f"{path.parent.parent.name}/{path.parent.name}":',
        "if False:",
        ("tests/harness/store/test_store.py",),
    ),
    Mutant(
        "an entry without its seal is believed",
        "reports/records/sealed_json.py",
        "        if required:\n",
        "        if False:\n",
        ("tests/harness/store/test_store.py",),
    ),
    Mutant(
        "answers of another variant are believed",
        "harness/store/answers.py",
        "if log != path.parent.name:",
        "if False:",
        ("tests/harness/store/test_answers.py",),
    ),
    Mutant(
        "a read error of a moment is damage",
        "harness/store/atomic.py",
        "ATTEMPTS, PAUSE = 3, 0.2",
        "ATTEMPTS, PAUSE = 1, 0.2",
        ("tests/harness/store/test_unreadable.py", "tests/harness/store/test_atomic.py"),
    ),
    Mutant(
        "folders are taken for a store by the names in them",
        "harness/store/marker.py",
        "return any(next(root.glob(pattern), None) is not None for pattern in ENTRIES)",
        "return True",
        ("tests/harness/store/test_marker.py",),
    ),
    Mutant(
        "a claim is released by whoever lost it",
        "harness/store/claims.py",
        "        if self.is_ours():\n            self.path.unlink",
        "        if True:\n            self.path.unlink",
        ("tests/harness/store/test_claims.py",),
    ),
    Mutant(
        "a claim with a stamp in the future holds for ever",
        "harness/store/claims.py",
        "abs(_now(path.parent) - path.stat().st_mtime) <= STALE",
        "_now(path.parent) - path.stat().st_mtime <= STALE",
        ("tests/harness/store/test_claims.py",),
    ),
    Mutant(
        "every error of the disk is a full one",
        "harness/store/atomic.py",
        'remedy = REMEDIES.get(error.errno or 0, "see to the disk, or make the folder writable")',
        'remedy = "free space"',
        ("tests/harness/store/test_atomic.py",),
    ),
    Mutant(
        "an interrupt that a library renamed is a cell's failure",
        "harness/failures.py",
        "if any(isinstance(one, KeyboardInterrupt) for one in _chain(error)):",
        "if isinstance(error, KeyboardInterrupt):",
        ("tests/harness/test_failures.py",),
    ),
    Mutant(
        "a failure is repeated for ever, whatever was mended",
        "harness/failures.py",
        "return hashlib.sha256(path.read_bytes()).hexdigest()",
        'return "code"',
        ("tests/harness/test_failures.py",),
    ),
    Mutant(
        "a full memory is remembered as a lasting failure",
        "harness/failures.py",
        "MAY_PASS = (OSError, MemoryError, ImportError, CellError)",
        "MAY_PASS = (OSError, ImportError, CellError)",
        ("tests/harness/test_failures.py",),
    ),
    Mutant(
        "what a scorer raises ends the sweep",
        "harness/stages/evaluate.py",
        "except (Exception, SystemExit) as error:  # noqa: BLE001 (of data, pictures, scorers)",
        "except CellError as error:",
        ("tests/harness/stages/test_evaluate.py",),
    ),
    Mutant(
        "missing weights are made up",
        "harness/models/load.py",
        "    require_fit(source.shown, info)\n",
        "    pass\n",
        ("tests/harness/models/test_fit.py",),
    ),
    Mutant(
        "every format that Pillow knows is decoded",
        "harness/data/picture_formats.py",
        "if name in FORMATS]",
        "]",
        ("tests/harness/data/test_picture_formats.py",),
    ),
    Mutant(
        "a picture may have any size",
        "harness/data/picture_formats.py",
        "Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2",
        "Image.MAX_IMAGE_PIXELS = None",
        ("tests/harness/data/test_picture_formats.py",),
    ),
    Mutant(
        "a question that writes of a picture's token takes its place",
        "harness/models/prompt.py",
        'text = text.replace(token, f"{token[0]} {token[1:]}")',
        "pass",
        ("tests/harness/models/test_prompt.py",),
    ),
    Mutant(
        "two variants that differ in an option are one line",
        "reports/report/labels.py",
        "return all(second[name] == value for name, value in first.items() if name in second)",
        "return True",
        ("tests/reports/report/test_labels.py",),
    ),
    Mutant(
        "one cell that cannot be shown ends the report",
        "reports/report/write.py",
        "            if not hidden:\n",
        "            if True:\n",
        ("tests/reports/report/test_write.py",),
    ),
    Mutant(
        "W&B's server is asked for in every run",
        "harness/trackers/wandb.py",
        "@functools.cache\ndef _must_be_offline",
        "def _must_be_offline",
        ("tests/harness/trackers/test_wandb.py",),
    ),
    Mutant(
        "POPE's answers must be one word",
        "tasks/mini/scoring.py",
        'words = re.findall(r"\\w+", re.split(r"[.\\n]", response.strip().lower())[0])',
        "words = [response.strip().lower()]",
        ("tests/tasks/mini/test_scoring.py",),
    ),
)


def noticed(mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, bool]]:
    """Each fault with whether its tests fail.

    Raises:
        ValueError: Tests cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"):
            shutil.copy(ROOT / name, copy / name)
        for mutant in mutants:
            file = copy / mutant.file
            sound = file.read_text(encoding="utf-8")
            file.write_text(sound.replace(mutant.old, mutant.new), encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", *mutant.tests],
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            file.write_text(sound, encoding="utf-8")
            if done.returncode not in (0, 1):
                raise ValueError(f"{mutant.what}: pytest could not run: {done.stdout[-2000:]}")
            yield mutant, done.returncode == 1


def main() -> None:
    """Print each fault and whether it was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.parse_args()
    found = []
    for mutant, seen in noticed(MUTANTS):
        found.append(seen)
        print(f"{'noticed' if seen else 'MISSED '}  {mutant.what}", flush=True)  # noqa: T201
    print(f"{sum(found)} of {len(found)} noticed")  # noqa: T201


if __name__ == "__main__":
    main()
