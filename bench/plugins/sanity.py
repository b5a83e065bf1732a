"""The first look at a plugin: can what it defines be asked for at all? Else the reason, in one line.

Whether it keeps its contract is another question, which `carousel validate` asks.
"""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import arch
    import tasks

TRIAL_PARAMETERS = 10_000


class PluginError(ValueError):
    """A plugin that does not work, with the reason in one line."""


def try_layer(found: arch.Arch) -> None:
    """Raises where a layer cannot be asked for at all; an impossible size is no mistake."""
    import torch

    import arch

    _refuse_if_abstract(found.layer)
    for option, (_, default) in found.parameters.items():
        if default is inspect.Parameter.empty:
            raise PluginError(f"its option {option!r} has no default")
    with torch.device("meta"):
        try:
            arch.build(found, channels=2, outputs=2, params=TRIAL_PARAMETERS, depth=1)
        except ValueError as error:
            if "accepts no width" in str(error):
                raise PluginError(str(error)) from None


def try_task(kind: type[tasks.Task]) -> None:
    """Raises where a task cannot be asked for at all; data that is missing is no mistake."""
    import tasks

    _refuse_if_abstract(kind)
    if not dataclasses.is_dataclass(kind) or "__init__" not in vars(kind):
        raise PluginError(f"{kind.__name__} must be a frozen dataclass: @dataclass(frozen=True, kw_only=True)")
    if not isinstance(getattr(kind, "source", None), str):
        raise PluginError(f"{kind.__name__} must say its source, a text")
    task = tasks.build(kind.__module__.rpartition(".")[2])
    for name in ("inputs", "targets"):
        if not isinstance(getattr(task, name), (tasks.Tokens, tasks.Reals)):
            raise PluginError(f"{name} must be Tokens or Reals, not {getattr(task, name)!r}")
    try:
        task.sample(tasks.generator(0, "train"), 1, task.min_length)
        task.chance(task.min_length)
    except ValueError:
        return


def _refuse_if_abstract(kind: type) -> None:
    if missing := getattr(kind, "__abstractmethods__", ()):
        raise PluginError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")


def what_happened(error: BaseException, file: str) -> str:
    """An exception in one line, with the line of that file where it came up."""
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = error.lineno if isinstance(error, SyntaxError) else own[-1] if own else None
    said = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().partition("\n")[0]
    where = "" if line is None else f" at line {line}"
    return f"{type(error).__name__}{where}: {said}".rstrip(": ")


def refuse(error: BaseException, file: str) -> NoReturn:
    """Raise the error as a `PluginError` that names the file."""
    raise error if isinstance(error, PluginError) else PluginError(what_happened(error, file)) from None
