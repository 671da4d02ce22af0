"""stage=list: stages, sweeps, models, methods and suites as tables."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config.choices import GROUPS, choices
from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.stages.registry import STAGES


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Print a table of each kind of choice."""
    stages = [(f"stage={stage.name}", stage.summary) for stage in STAGES.values()]
    progress.table(("stage", "what it does"), stages, wrap=True)
    for group, written in GROUPS.items():
        rows = [(f"{written}{name}", summary) for name, summary in choices(group)]
        progress.table((group, "what it is"), rows, wrap=True)
    return Outcome()
