"""What other packages bring, by the entry points of their metadata."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from harness.errors import ConfigError


def entry_point_names(group: str) -> list[str]:
    """Names of all entry points of a group, sorted; nothing is imported."""
    return sorted({point.name for point in entry_points(group=group)})


def find_entry_point(group: str, name: str) -> EntryPoint | None:
    """The entry point of this name, which is not loaded; None where no package has it.

    Raises:
        ConfigError: Several packages have it.
    """
    points = {point.value: point for point in entry_points(group=group, name=name)}
    if len(points) > 1:
        raise ConfigError(
            f"{name!r} is the name of several entry points in the group {group}:"
            f" {', '.join(sorted(points))}; uninstall all but one of the packages"
        )
    return next(iter(points.values()), None)
