"""Plugins: one file or folder adds one architecture or one task under its name.

A plugin is a file or folder given with `--plugin`, or a module of an installed package. The package declares this
module as an entry point of the group `carousel.archs` or `carousel.tasks`. Every job carries the bytes of
plugin files, so a worker on any machine runs the same code. The package of an entry point must be installed
on the worker's machine with the same digest. An error inside a plugin disables only that plugin. Commands that
only read or report results load no plugins.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from bench.errors import UsageError
from bench.plugins.sanity import PluginError, check_arch, check_task, no_single_class, refuse
from bench.plugins.source_files import digest, execute, forget, label, package_sources, read_sources

ENTRY_POINT_GROUPS = ("carousel.archs", "carousel.tasks")
PACKAGE = "carousel_plugins"
"""The package name of plugin files in `sys.modules`; no such package exists on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin: its name, its digest, and either its source or the name of its module."""

    name: str
    digest: str
    """The first ten hexadecimal digits of the SHA-256 of the plugin's files. For an entry point, these are all source
    files of its package."""
    sources: Mapping[str, bytes] | None = field(default=None, repr=False)
    """The content of each file given with `--plugin`, by its name in the plugin's folder; None for an entry point."""
    module: str | None = None
    """The name of the module of an entry point; None for a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disabled:
    """A plugin that cannot be used, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The result of `load`: the plugins in use and the disabled plugins."""

    plugins: tuple[Plugin, ...] = ()
    disabled: tuple[Disabled, ...] = ()


_installed: dict[str, str] = {}
"""The digest of each plugin in use in this process, by its name."""
_added_or_disabled: set[str] = set()


def load(files: Sequence[Path] = ()) -> Loaded:
    """Add the plugins in `files` and in all installed packages, and return the plugins in use and the disabled plugins.

    A file may also be a folder.
    A plugin that does not work is disabled. Plugins of earlier calls that are no longer given or installed are removed.

    Raises:
        UsageError: If a file is not called NAME.py, if it cannot be read, if it imports a neighbour, or if NAME is
            already in use.
    """
    given, declared = read(files), list(_declared())
    for name in _added_or_disabled - {plugin.name for plugin in [*given, *declared]}:
        _forget(name)
    for name in {plugin.name for plugin in given} & {plugin.name for plugin in declared}:
        raise UsageError(
            f"--plugin {name}.py: an installed package already declares a plugin {name!r}; rename the file"
        )
    working: list[Plugin] = []
    disabled: list[Disabled] = []
    candidates: list[Plugin | Disabled] = [*given, *declared]
    for plugin in candidates:
        try:
            if isinstance(plugin, Disabled):
                raise PluginError(plugin.reason)
            _install(plugin)
            working.append(plugin)
        except PluginError as error:
            if plugin in given and _is_taken(plugin.name):
                raise UsageError(f"--plugin {plugin.name}.py: {error}") from None
            disabled.append(_disable(plugin.name, str(error)))
    return Loaded(plugins=tuple(working), disabled=tuple(disabled))


def install(plugins: Sequence[Plugin]) -> None:
    """Make `plugins` the only plugins of this process. A worker calls this function before each job.

    Plugins that are already loaded with the same digest are not reloaded.

    Raises:
        PluginError: If a plugin does not work in this process, or if its source does not match its digest.
    """
    for name in _added_or_disabled - {plugin.name for plugin in plugins}:
        _forget(name)
    for plugin in plugins:
        try:
            _install(plugin)
        except PluginError as error:
            raise PluginError(f"the plugin {plugin.name} does not work in this worker: {error}") from None


def digests(plugins: Sequence[Plugin]) -> dict[str, str]:
    """Return the digest of each plugin by its name, in the form that a run stores."""
    return {plugin.name: plugin.digest for plugin in plugins}


def read(files: Sequence[Path]) -> list[Plugin]:
    """Return the plugins in files, without running them. Raises `UsageError` as `load` does."""
    plugins: dict[str, Plugin] = {}
    for file in files:
        sources = read_sources(file)
        plugin = Plugin(name=file.stem, digest=digest(sources), sources=sources)
        if plugins.setdefault(plugin.name, plugin) != plugin:
            raise UsageError(f"--plugin {file}: another plugin is already called {plugin.name!r}; rename one file")
    return list(plugins.values())


def _declared() -> Iterator[Plugin | Disabled]:
    """Yield the plugins that installed packages declare, without importing the plugins.

    Yield a `Disabled` if an entry point is invalid. Of several entry points with one name, only the first is used.
    """
    points = [point for group in ENTRY_POINT_GROUPS for point in importlib.metadata.entry_points(group=group)]
    seen: set[str] = set()
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        if point.name in seen:
            continue
        seen.add(point.name)
        try:
            yield _declared_plugin(point)
        except PluginError as error:
            yield Disabled(name=point.name, reason=str(error))


def _declared_plugin(point: importlib.metadata.EntryPoint) -> Plugin:
    if point.module.rpartition(".")[2] != point.name:
        raise PluginError(
            f"its entry point is the module {point.module}, which must end in .{point.name}; "
            "rename the entry point or the module"
        )
    try:
        sources = package_sources(point.module)
    except ModuleNotFoundError:
        raise PluginError(
            f"its entry point is the module {point.module}, which is not installed; reinstall its package"
        ) from None
    except Exception as error:
        refuse(error, point.module)
    return Plugin(name=point.name, digest=digest(sources), module=point.module)


def _install(plugin: Plugin) -> None:
    import arch
    import tasks
    from bench.plugins.torch_state import preserved

    if _installed.get(plugin.name) == plugin.digest:
        return
    _forget(plugin.name)
    with preserved():
        module = _imported(plugin)
    layers, task_classes = arch.defined_in(module), tasks.defined_in(module)
    if len(layers) + len(task_classes) != 1:
        forget(f"{PACKAGE}.{plugin.name}")
        raise no_single_class(module, len(layers), len(task_classes))
    try:
        if layers:
            arch.add(plugin.name, layers[0])
        else:
            tasks.add(plugin.name, task_classes[0])
    except ValueError as error:
        forget(f"{PACKAGE}.{plugin.name}")
        raise PluginError(str(error)) from None
    _installed[plugin.name] = plugin.digest
    _added_or_disabled.add(plugin.name)
    try:
        with preserved():
            if layers:
                check_arch(arch.get(plugin.name))
            else:
                check_task(task_classes[0])
    except PluginError:
        _forget(plugin.name)
        raise
    except Exception as error:
        _forget(plugin.name)
        refuse(error, module.__file__ or "")


def _imported(plugin: Plugin) -> ModuleType:
    if plugin.module is not None:
        try:
            module = importlib.import_module(plugin.module)
            found = digest(package_sources(plugin.module))
        except (Exception, SystemExit) as error:
            refuse(error, plugin.module)
        if found != plugin.digest:
            raise PluginError(
                f"the module {plugin.module} differs on this machine: its source has the digest {found}, "
                f"but the job expects {plugin.digest}; install the same version of the package"
            )
        return module
    assert plugin.sources is not None
    if (found := digest(plugin.sources)) != plugin.digest:
        raise PluginError(
            f"its source has the digest {found}, but the job expects {plugin.digest}: "
            "a file was changed on its way to the worker; rerun the command"
        )
    try:
        return execute(f"{PACKAGE}.{plugin.name}", plugin.sources)
    except (Exception, SystemExit) as error:
        refuse(error, label(plugin.name, next(iter(plugin.sources))))


def _disable(name: str, reason: str) -> Disabled:
    import arch
    import tasks

    if not _is_taken(name):
        _added_or_disabled.add(name)
        for package in (arch, tasks):
            package.disable(name, f"the plugin {name} is disabled: {reason}")
    return Disabled(name=name, reason=reason)


def _is_taken(name: str) -> bool:
    import arch
    import tasks

    return name in arch.names() or name in tasks.names()


def _forget(name: str) -> None:
    import arch
    import tasks

    arch.remove(name)
    tasks.remove(name)
    forget(f"{PACKAGE}.{name}")
    _installed.pop(name, None)
    _added_or_disabled.discard(name)
