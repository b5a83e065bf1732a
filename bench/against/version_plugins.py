"""Find the state in which a version has the plugins of a request, and the repositories that hold them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from bench.against.version import Version
from bench.errors import UsageError
from bench.machine.provenance import HOME, repository_of
from bench.plugins import loader
from bench.plugins.loader import Plugin
from bench.runner.request import Request
from results.specs import Spec


def plugins_of(version: Version, plugins: tuple[Plugin, ...], files: Sequence[Path]) -> tuple[Plugin, ...]:
    """Return plugins in the state in which a version has them.

    If a file is in the folder of this version's packages and the folder of the other version has it too, the other
    version uses its own file. All other plugins are the same in both versions.

    Args:
        version: the version.
        plugins: all plugins of this version.
        files: the files or folders of some of them.
    """
    if version.home is None:
        return plugins
    own = [version.home / file for file in in_checkout(files) if (version.home / file).exists()]
    return _replaced(plugins, loader.read(own))


def with_base_plugins(plugins: tuple[Plugin, ...], files: Sequence[Path]) -> tuple[Plugin, ...]:
    """Return the plugins of the base, with those that the user gave for it in place of others of the same names.

    Raises `UsageError` if a file is no plugin, or if no plugin has its name.
    """
    try:
        given = loader.read(files)
    except UsageError as error:
        raise UsageError(str(error).replace("--plugin", "--base-plugin", 1)) from None
    known = {plugin.name for plugin in plugins}
    for plugin, file in zip(given, files, strict=False):
        if plugin.name not in known:
            raise UsageError(
                f"--base-plugin {file}: this version has no plugin {plugin.name!r}; give its present state by --plugin"
            )
    return _replaced(plugins, given)


def in_checkout(files: Sequence[Path]) -> list[Path]:
    """Return those of some plugin files that lie in the folder of this version's packages, relative to it."""
    resolved = [file.resolve() for file in files]
    return [file.relative_to(HOME) for file in resolved if file.is_relative_to(HOME)]


def shared_although_tracked(
    base: Version, request: Request, files: Sequence[Path], base_files: Sequence[Path] = ()
) -> list[str]:
    """Return one sentence per plugin of the plan that lies in another git repository than a base that is a revision.

    The user may expect that the revision also changes the plugin. The list is empty if the base is no revision.

    Args:
        base: the base.
        request: what to measure.
        files: the files or folders of some plugins.
        base_files: those that the user gave for the base.
    """
    if base.revision is None:
        return []
    used = {Spec.parse_stored(spec).name for grid in request.plan.grids() for spec in (*grid.archs, *grid.tasks)}
    used -= {file.stem for file in base_files}
    places = {file.stem: file.resolve() for file in files}
    for plugin in request.plugins:
        spec = None if plugin.module is None else importlib.util.find_spec(plugin.module)
        if spec is not None and spec.origin is not None:
            places.setdefault(plugin.name, Path(spec.origin))
    own = repository_of(HOME)
    repositories = {name: repository_of(place) for name, place in places.items() if name in used}
    return [
        f"{base.name} is of Carousel's repository {own}, not of {repository}, so the plugin {name} is the same in both "
        "versions and its changes cannot show"
        for name, repository in repositories.items()
        if repository is not None and repository != own
    ]


def _replaced(plugins: Sequence[Plugin], others: Sequence[Plugin]) -> tuple[Plugin, ...]:
    by_name = {plugin.name: plugin for plugin in others}
    return tuple(by_name.get(plugin.name, plugin) for plugin in plugins)
