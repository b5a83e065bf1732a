"""Quick checks of a plugin: whether its architecture or task can be built at all.

`carousel validate` checks the full contract.
"""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from typing import TYPE_CHECKING, NoReturn

from bench.errors import name_and_message
from bench.plugins.source_files import label

if TYPE_CHECKING:
    from types import ModuleType

    import arch
    import tasks

TRIAL_PARAMETERS = 10_000


class PluginError(ValueError):
    """An error that makes a plugin unusable; the message is one line."""


def check_arch(candidate: arch.Arch) -> None:
    """Raise an error if the architecture cannot be built.

    Raises `PluginError` if the layer is abstract, if an option has no default or a reserved name, if its groups of
    parameters are invalid, or if the layer accepts no width. Any other `ValueError` is accepted, because an
    architecture may refuse the trial size. Other errors are not caught.
    """
    import arch

    _refuse_if_abstract(candidate.layer)
    _, _, *parameters = [*inspect.signature(candidate.layer).parameters, "", ""]
    own = arch.own_block_options(candidate.layer)
    for reserved in sorted(arch.RESERVED_OPTIONS.intersection(parameters) - own):
        raise PluginError(f"its option {reserved!r} has a name that Carousel uses itself; rename the option")
    for option, (_, default) in candidate.parameters.items():
        if default is inspect.Parameter.empty:
            raise PluginError(f"its option {option!r} has no default; give it one")
    with arch.meta_device():
        try:
            model = arch.build(candidate, channels=2, outputs=2, params=TRIAL_PARAMETERS, depth=1)
        except arch.NoWidth as error:
            raise PluginError(str(error)) from None
        except ValueError:
            return
    try:
        arch.parameter_groups(model)
    except ValueError as error:
        raise PluginError(str(error)) from None


def check_task(task_class: type[tasks.Task]) -> None:
    """Raise an error if the task cannot be built or sampled.

    Raises `PluginError` if the class or one of its attributes is malformed. A `ValueError` from the constructor, from
    `sample` or from `chance` is accepted, because a data set may be missing. Other errors are not caught.
    """
    import tasks

    _refuse_if_abstract(task_class)
    name = task_class.__name__
    if not dataclasses.is_dataclass(task_class) or "__init__" not in vars(task_class):
        raise PluginError(f"{name} must be a frozen dataclass: @dataclass(frozen=True, kw_only=True)")
    if not isinstance(getattr(task_class, "source", None), str):
        raise PluginError(f"{name} must have a class attribute `source`, a string")
    if "preset" in (field.name for field in dataclasses.fields(task_class)):
        raise PluginError("its option 'preset' has a name that Carousel uses itself; rename the option")
    try:
        task = tasks.build(task_class.__module__.rpartition(".")[2])
    except ValueError:
        return
    for attribute in ("inputs", "targets"):
        if not isinstance(getattr(task, attribute), (tasks.Tokens, tasks.Reals)):
            raise PluginError(f"{attribute} must be Tokens or Reals, not {getattr(task, attribute)!r}")
    try:
        task.sample(tasks.generator(0, "train"), 1, task.min_length)
        task.chance(task.min_length)
    except ValueError:
        return


def _refuse_if_abstract(candidate: type) -> None:
    if missing := sorted(getattr(candidate, "__abstractmethods__", ())):
        advice = ", or derive it from arch.RecurrentLayer and define project and update" * ("step" in missing)
        raise PluginError(
            f"{candidate.__name__} does not define {' and '.join(missing)}: define what is missing{advice}"
        )


def no_single_class(module: ModuleType, layers: int, task_classes: int) -> PluginError:
    """Return the error of a plugin that defines no layer or task, or more than one."""
    from torch import nn

    message = "it must define exactly one Layer or one Task, but defines "
    if layers + task_classes:
        return PluginError(f"{message}{layers} Layer and {task_classes} Task classes: keep one class per file")
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    others = [f"class {each.__name__}(arch.RecurrentLayer)" for each in own if issubclass(each, nn.Module)]
    advice = f": write {' or '.join(others)}, or derive from arch.Layer" if others else ""
    return PluginError(f"{message}none{advice}")


def describe_error(error: BaseException, file: str) -> str:
    """Return a short description of an exception, with the number of the line in `file` that caused the exception.

    For a `SyntaxError`, that is the line that cannot be parsed. For other exceptions, it is the innermost line of
    `file` in the traceback. If there is no such line, the number is omitted.
    """
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = error.lineno if isinstance(error, SyntaxError) else own[-1] if own else None
    name, _, message = name_and_message(error).partition(": ")
    if isinstance(error, SyntaxError):
        message = error.msg
    where = "" if line is None else f" at line {line}"
    return f"{name}{where}: {message}" if message else f"{name}{where}"


def plugin_in_traceback(error: BaseException) -> tuple[str, str] | None:
    """Return the name and the file of the plugin in whose code an exception was raised; None if no plugin is involved.

    Plugins of installed packages are found by the modules that define their classes.
    """
    import arch
    import tasks

    names: dict[str, type] = {name: arch.get(name).layer for name in set(arch.names()) - set(arch.built_in())}
    names |= {name: tasks.get(name) for name in set(tasks.names()) - set(tasks.built_in())}
    files = {inspect.getfile(plugin): name for name, plugin in names.items()}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            return files[frame.filename], frame.filename
        for name in names:
            if frame.filename.startswith(label(name, "")[:-1]):  # another file of the folder
                return name, frame.filename
    return None


def blame_plugin(error: BaseException) -> str | None:
    """Return one line that names the plugin in whose code an exception was raised; None if no plugin is involved."""
    plugin = plugin_in_traceback(error)
    return None if plugin is None else f"the plugin {plugin[0]} fails: {describe_error(error, plugin[1])}"


def refuse(error: BaseException, file: str) -> NoReturn:
    """Raise `error` as a `PluginError` that names the line in `file`. A `PluginError` is raised unchanged."""
    raise error if isinstance(error, PluginError) else PluginError(describe_error(error, file)) from None
