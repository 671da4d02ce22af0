"""The mini suites: nine tasks whose pictures and questions are drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config.schema import SuiteConfig
from harness.errors import ConfigError
from harness.evaluation.pictures.data import mini_data
from harness.evaluation.pictures.suite import PictureSuite, load_suites, refuse_language_model
from harness.models.load import LoadedModel
from harness.store.store import Store
from tasks.mini import suites as mini

FOLDER = "mini"
SELECTION = "selection"  # the split that is drawn for choosing settings
SEED_STEP = 10_000  # between the seeds that draw the questions of two seeds of the gate


@dataclass(frozen=True, kw_only=True)
class MiniSuite(PictureSuite):
    """A mini suite.

    Attributes:
        store: Where its data is drawn.
    """

    store: Store

    def select(self, split: str) -> PictureSuite:
        """Questions that are drawn from a seed of their own; see `Suite.select`."""
        if split != SELECTION:
            raise ConfigError(
                f"search.split is {split!r}; the mini suites have `{SELECTION}` for this, drawn"
                " from another seed"
            )
        data = mini_data(self.store, [self.name], mini.SELECTION_SEED)
        return load_suites(self.folder, (self.name,), self.family, data)[self.name]


def open_suites(
    settings: SuiteConfig, loaded: LoadedModel, store: Store, seed: int
) -> dict[str, MiniSuite]:
    """Mini suites by name, whose questions are drawn into the store; see `OpenSuites`."""
    refuse_language_model(loaded, settings.name)
    names = tuple(settings.tasks)
    data = mini_data(store, names, mini.SEED + SEED_STEP * seed)
    suites = load_suites(FOLDER, names, loaded.family.name, data)
    return {name: MiniSuite(**vars(suite), store=store) for name, suite in suites.items()}
