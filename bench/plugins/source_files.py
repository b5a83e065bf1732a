"""The source files of a plugin: what counts in its digest, and what is sent to workers.

A plugin is one file NAME.py, or a folder NAME with `__init__.py`, whose `.py` files all belong to the plugin. A file
must not import its neighbours, because they would be neither sent nor counted.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType

from bench.errors import UsageError
from results.specs import Spec, UnknownName

ENTRY = "__init__.py"
"""The file of a folder that defines the layer or task."""
OWN_PACKAGES = ("arch", "tasks", "bench", "results", "reports")


def forgotten_files(specs: Iterable[str], error: ValueError) -> str:
    """Return advice on specs that nothing registered names but a file of the current folder does; empty if none.

    It is also empty if `error` is not about an unknown name, but about a plugin that is disabled, for example.
    """
    if not isinstance(error, UnknownName):
        return ""
    import arch
    import tasks

    unknown = dict.fromkeys(Spec.parse_stored(spec).name for spec in specs)
    files = [
        plugin
        for name in unknown
        if name.isidentifier() and name not in arch.names() and name not in tasks.names()
        for plugin, entry in ((f"{name}.py", f"{name}.py"), (name, f"{name}/{ENTRY}"))
        if Path(entry).is_file()
    ]
    return f"; to use the plugin in this folder, add --plugin {' --plugin '.join(files)}" if files else ""


def read_sources(path: Path) -> dict[str, bytes]:
    """Return the content of each source file of a plugin by its name; the first file defines the layer or task.

    Raises:
        UsageError: If `path` is no file NAME.py and no folder NAME with `__init__.py`, if a file cannot be read, or if
            a file imports a neighbour.
    """
    is_folder = path.is_dir() and path.suffix != ".py"
    if not path.stem.isidentifier() or path.stem.startswith("_") or (path.suffix != ".py" and not is_folder):
        rule = "where NAME is a Python identifier that does not start with an underscore"
        raise UsageError(f"--plugin {path}: the file must be called NAME.py, {rule}; rename it")
    if is_folder and not (path / ENTRY).is_file():
        raise UsageError(f"--plugin {path}: the folder has no {ENTRY}, which must define the layer or task")
    files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*.py"))} if is_folder else {}
    files = {ENTRY: path / ENTRY, **files} if is_folder else {path.name: path}
    try:
        sources = {name: file.read_bytes() for name, file in files.items()}
    except OSError as error:
        raise UsageError(f"--plugin {path}: cannot read the file ({error.strerror}); name a readable file") from None
    if not is_folder and (neighbour := _imported_neighbour(sources[path.name], path)) is not None:
        raise UsageError(
            f"--plugin {path}: it imports {neighbour} beside it, which would not count in its digest; "
            f"put both into a folder {path.stem} as {ENTRY} and {neighbour}, and give --plugin {path.stem}"
        )
    return sources


def digest(sources: Mapping[str, bytes]) -> str:
    """Return the first ten hexadecimal digits of the SHA-256 of the sources.

    For one file, only the content counts. For several files, names and sizes count too.
    """
    if len(sources) == 1 and ENTRY not in sources:
        return hashlib.sha256(*sources.values()).hexdigest()[:10]
    whole = hashlib.sha256()
    for name, content in sorted(sources.items()):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:10]


def package_sources(module: str) -> dict[str, bytes]:
    """Return the source files of the installed package that contains `module`, or of the module itself.

    Raises `ModuleNotFoundError` if there is no such module, and `OSError` if a file cannot be read.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    sources = {module: Path(spec.origin).read_bytes()}
    top = importlib.util.find_spec(module.partition(".")[0])
    for folder in (top.submodule_search_locations or []) if top is not None else []:
        for file in sorted(Path(folder).rglob("*.py")):
            sources[file.relative_to(folder).as_posix()] = file.read_bytes()
    return sources


def execute(name: str, sources: Mapping[str, bytes]) -> ModuleType:
    """Run the first source file as the module `name`, and return the module. The others are its submodules.

    The sources may come from another machine, so they are not read from a disk.
    """
    forget(name)
    finder = _SourceFinder(name, sources)
    package = name.rpartition(".")[0]
    sys.modules.setdefault(package, ModuleType(package))
    sys.meta_path.insert(0, finder)
    module = importlib.util.module_from_spec(finder.spec(name))
    sys.modules[name] = module
    try:
        finder.exec_module(module)
    except BaseException:
        forget(name)
        raise
    return module


def forget(name: str) -> None:
    """Remove the module `name` of a plugin and its submodules."""
    for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[module]
    sys.meta_path[:] = [each for each in sys.meta_path if not (isinstance(each, _SourceFinder) and each.name == name)]


def label(name: str, file: str) -> str:
    """Return the file name that tracebacks show for a source file of the plugin `name`."""
    return f"<plugin {file}>" if file == f"{name}.py" else f"<plugin {name}/{file}>"


class _SourceFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finder and loader of the modules of one plugin, from the content of its files."""

    def __init__(self, name: str, sources: Mapping[str, bytes]) -> None:
        self.name = name
        short = name.rpartition(".")[2]
        is_folder = next(iter(sources)) == ENTRY
        self._modules: dict[str, tuple[str, bytes]] = {}
        for file, content in sources.items():
            parts = PurePosixPath(file).with_suffix("").parts if is_folder else ()
            full = ".".join([name, *(part for part in parts if part != "__init__")])
            self._modules[full] = (label(short, file), content)
        self._packages = {name} if is_folder else set()
        for file in sources if is_folder else ():
            for folder in PurePosixPath(file).parents:
                self._packages.add(".".join([name, *folder.parts]))

    def spec(self, name: str) -> importlib.machinery.ModuleSpec:
        """Return the spec of one of the plugin's modules."""
        spec = importlib.machinery.ModuleSpec(name, self, is_package=name in self._packages)
        spec.origin = self._modules[name][0] if name in self._modules else None
        return spec

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        is_own = fullname.startswith(f"{self.name}.") and fullname in (*self._modules, *self._packages)
        return self.spec(fullname) if is_own else None

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ not in self._modules:
            return  # a folder without `__init__.py`
        file, content = self._modules[module.__name__]
        module.__file__ = file
        text = importlib.util.decode_source(content)
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102  (the user names this file to run it)


def _imported_neighbour(source: bytes, path: Path) -> str | None:
    """Return the name of a file or folder beside `path` that the source imports, or None if there is none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None  # running the file shows the error
    for name, is_relative in _imported_names(tree):
        for neighbour in (path.parent / f"{name}.py", path.parent / name):
            if not neighbour.exists() or neighbour == path or name in OWN_PACKAGES:
                continue
            if is_relative or _comes_from(name, path.parent):
                return neighbour.name
    return None


def _imported_names(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield the first part of each imported name, and whether the import is relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0], node.level > 0
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, True) for alias in node.names)


def _comes_from(name: str, folder: Path) -> bool:
    """Return whether an import of `name` would read the folder, or would find nothing elsewhere."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    if spec is None:
        return True
    places = [spec.origin, *(spec.submodule_search_locations or [])]
    return any(place is not None and Path(place).resolve().is_relative_to(folder.resolve()) for place in places)
