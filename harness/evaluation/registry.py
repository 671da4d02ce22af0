"""Which kinds of suites there are: by the folder of `suite.folder`.

A folder below `tasks/` holds tasks of lmms-eval about pictures, unless the table below names
another kind for it. Another package brings a kind with an entry point in the group
`harness.suites`, whose name is the folder and whose object is a function as `OpenSuites` describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.config.schema import Config
from harness.entry_points import entry_point_names, find_entry_point
from harness.errors import CellError, ConfigError
from harness.evaluation import text_suite
from harness.evaluation.pictures import mini
from harness.evaluation.pictures import suite as picture_suite
from harness.evaluation.suite import OpenSuites, Suite
from harness.failures import cause, require_of_a_cell
from harness.models.load import LoadedModel
from harness.paths import TASKS
from harness.store.store import Store

GROUP = "harness.suites"
KINDS: Mapping[str, OpenSuites] = {
    mini.FOLDER: mini.open_suites,
    text_suite.FOLDER: text_suite.open_suites,
}


def open_suites(
    config: Config, loaded: LoadedModel, store: Store, seed: int = 0
) -> Mapping[str, Suite]:
    """The suites of a configuration, by name.

    Args:
        config: Names them under `suite`.
        loaded: The model; it may be without weights.
        store: Where data that is drawn is stored.
        seed: 0 for the questions that are reported; suites that are drawn draw others for another.

    Raises:
        ConfigError: A suite is unknown, its data cannot be read, or the model cannot answer it.
        CellError: Opening one raised anything else.
    """
    batch_size = config.suite.batch_size or config.batch_size
    settings = replace(config.suite, batch_size=batch_size)
    opener = find_kind(settings.folder)
    try:
        suites = opener(settings, loaded, store, seed)
        for name, suite in suites.items():
            _require_score(name, suite)
        return suites
    except (Exception, SystemExit) as error:  # a suite may be anybody's code
        require_of_a_cell(error)
        raise CellError(f"{', '.join(settings.tasks)} cannot be opened: {cause(error)}") from error


def _require_score(name: str, suite: Suite) -> None:
    """Refuse a suite whose scores no table would show; one without metrics only writes answers."""
    if suite.metrics and not any(metric.primary for metric in suite.metrics.values()):
        raise ConfigError(
            f"suite {name}: none of its metrics ({', '.join(suite.metrics)}) is primary, so that no"
            " table has a score of it; mark one `primary: true`"
        )


def find_kind(folder: str) -> OpenSuites:
    """What opens the suites of a folder.

    Raises:
        ConfigError: There is no such folder, or the package that has it cannot be imported.
    """
    if folder in KINDS:
        return KINDS[folder]
    if folder in _task_folders():  # only task files of installed packages: they name functions
        return picture_suite.open_suites
    point = find_entry_point(GROUP, folder)
    if point is None:
        raise ConfigError(f"suite.folder is {folder!r}; choose one of {', '.join(known_folders())}")
    try:
        opener: OpenSuites = point.load()
    except (Exception, SystemExit) as error:  # importing it runs anybody's code
        require_of_a_cell(error)
        raise ConfigError(
            f"suite.folder={folder}: its entry point {point.value} cannot be imported:"
            f" {cause(error)}. Repair or uninstall the package"
        ) from error
    return opener


def known_folders() -> list[str]:
    """All values of `suite.folder`; no package is imported."""
    return sorted({*KINDS, *_task_folders(), *entry_point_names(GROUP)})


def _task_folders() -> set[str]:
    return {path.name for path in TASKS.iterdir() if any(path.glob("*.yaml"))}
