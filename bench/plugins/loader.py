"""Plugins: one file adds one architecture or one task, and the file's name is the name.

A plugin is a file that a command names with `--plugin`, or a module that an installed package
declares as an entry point of the group `carousel.archs` or `carousel.tasks`. A file's bytes travel
with every job, so that a lane on any machine runs exactly what was read here; an entry point's
module must be installed there, and its digest must be the same. Whatever goes wrong inside a plugin
disables that plugin alone. Nothing that reads or reports results comes here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.plugins.sanity import PluginError, refuse, try_layer, try_task

if TYPE_CHECKING:
    pass

GROUPS = ("carousel.archs", "carousel.tasks")
PACKAGE = "carousel_plugins"
"""What the modules of plugin files are called before the dot; no such package exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A name to add, and what a lane needs to add it too."""

    name: str
    digest: str
    """Ten hexadecimal digits of its file."""
    source: bytes | None = field(default=None, repr=False)
    """The file, where a command named one."""
    module: str | None = None
    """The module, where an installed package declares one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disabled:
    """A plugin that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What `load` made of the plugins there are."""

    plugins: tuple[Plugin, ...] = ()
    disabled: tuple[Disabled, ...] = ()


_installed: dict[str, str] = {}
"""The digest of each plugin that this process has added, by its name."""
_added_or_disabled: set[str] = set()


def load(files: Sequence[Path] = ()) -> Loaded:
    """Add the plugins of these files and of the installed packages; those that do not work are disabled.

    Raises `UsageError` for a file that cannot be read or whose name is taken.
    """
    given, declared = _read(files), list(_declared())
    for name in _added_or_disabled - {plugin.name for plugin in [*given, *declared]}:
        _forget(name)
    for name in {plugin.name for plugin in given} & {plugin.name for plugin in declared}:
        raise UsageError(
            f"--plugin {name}.py: an installed package declares a plugin {name!r} already; give the file another name"
        )
    working: list[Plugin] = []
    disabled: list[Disabled] = []
    found: list[Plugin | Disabled] = [*given, *declared]
    for plugin in found:
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
    """Make these the plugins of this process, as a lane does before a job; what is there already stays.

    Raises `PluginError` where one does not work here, or is not the same file.
    """
    for name in _added_or_disabled - {plugin.name for plugin in plugins}:
        _forget(name)
    for plugin in plugins:
        try:
            _install(plugin)
        except PluginError as error:
            raise PluginError(f"the plugin {plugin.name} does not work in this lane: {error}") from None


def digests(plugins: Sequence[Plugin]) -> dict[str, str]:
    """What a run records of its plugins."""
    return {plugin.name: plugin.digest for plugin in plugins}


def _read(files: Sequence[Path]) -> list[Plugin]:
    found: dict[str, Plugin] = {}
    for file in files:
        if file.suffix != ".py" or not file.stem.isidentifier() or file.stem.startswith("_"):
            raise UsageError(f"--plugin {file}: a plugin is a file name.py, and its name is the name to be added")
        try:
            source = file.read_bytes()
        except OSError as error:
            raise UsageError(f"--plugin {file} cannot be read: {error.strerror}") from None
        plugin = Plugin(name=file.stem, digest=_digest(source), source=source)
        if found.setdefault(plugin.name, plugin) != plugin:
            raise UsageError(f"--plugin {file}: another plugin is called {plugin.name!r}; give one another name")
    return list(found.values())


def _declared() -> Iterator[Plugin | Disabled]:
    """What installed packages declare; only their parent packages are imported."""
    points = [point for group in GROUPS for point in importlib.metadata.entry_points(group=group)]
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
        raise PluginError(f"its entry point names the module {point.module}, whose last part must be {point.name}")
    try:
        found = importlib.util.find_spec(point.module)
        if found is None or found.origin is None:
            raise PluginError(f"its entry point names the module {point.module}, which is not installed")
        content = Path(found.origin).read_bytes()
    except Exception as error:
        refuse(error, point.module)
    return Plugin(name=point.name, digest=_digest(content), module=point.module)


def _install(plugin: Plugin) -> None:
    import arch
    import tasks

    if _installed.get(plugin.name) == plugin.digest:
        return
    _forget(plugin.name)
    module = _imported(plugin)
    layers, kinds = arch.defined_in(module), tasks.defined_in(module)
    if len(layers) + len(kinds) != 1:
        raise PluginError(
            f"it must define exactly one Layer or one Task, but defines {len(layers)} and {len(kinds)} of them"
        )
    try:
        if layers:
            arch.add(plugin.name, layers[0])
        else:
            tasks.add(plugin.name, kinds[0])
    except ValueError as error:
        raise PluginError(str(error)) from None
    _installed[plugin.name] = plugin.digest
    _added_or_disabled.add(plugin.name)
    try:
        if layers:
            try_layer(arch.get(plugin.name))
        else:
            try_task(kinds[0])
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
            content = Path(str(module.__file__)).read_bytes()
        except (Exception, SystemExit) as error:
            refuse(error, plugin.module)
        if _digest(content) != plugin.digest:
            raise PluginError(
                f"the module {plugin.module} is not the same here: its digest is {_digest(content)}, "
                f"not {plugin.digest}; install the same package"
            )
        return module
    assert plugin.source is not None
    if _digest(plugin.source) != plugin.digest:
        raise PluginError(f"its digest is {_digest(plugin.source)}, not {plugin.digest}")
    file = f"<plugin {plugin.name}.py>"
    module = ModuleType(f"{PACKAGE}.{plugin.name}")
    module.__file__ = file
    sys.modules[module.__name__] = module
    try:
        text = importlib.util.decode_source(plugin.source)
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102  (a file that the user asks to be run)
    except (Exception, SystemExit) as error:
        refuse(error, file)
    return module


def _disable(name: str, reason: str) -> Disabled:
    import arch
    import tasks

    if not _is_taken(name):
        _added_or_disabled.add(name)
        for room in (arch, tasks):
            room.disable(name, f"the plugin {name} is disabled: {reason}")
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
    sys.modules.pop(f"{PACKAGE}.{name}", None)
    _installed.pop(name, None)
    _added_or_disabled.discard(name)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:10]
