"""The `carousel` command.

Commands import heavy libraries only when they run, so that `carousel --help` is fast.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import typer
import typer.core

from bench.cli import bisect, compare, doctor, listing, report, run, store, validate, version
from bench.cli.installation import check_installation
from bench.errors import (
    INTERRUPTED,
    OK,
    UNEXPECTED,
    USAGE,
    UsageError,
    message_of,
    name_and_message,
    printable,
    show_warnings_in_one_line,
)
from bench.machine.streams import flush_streams, lasting_streams

DEBUG = "CAROUSEL_DEBUG"
"""Environment variable that is 1 to show the traceback of an unexpected error."""

PATHS = {"FILE": "file", "DIR": "folder", "STORE": "folder of runs", "SOURCE": "folder of runs"}
"""What a path is, by the name of its value in the help."""


class Stopped(Exception):
    """Ctrl-C during a command. Typer would turn a `KeyboardInterrupt` into an exit code without a word."""


class _Commands(typer.core.TyperGroup):
    """Group of commands that reports Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped from None


class _Command(typer.core.TyperCommand):
    """Command that refuses what would be misread without a word.

    This is a value given twice, a folder in place of a file, or an empty path, which would be the working folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in order:
            self._require_path(parameter, given.get(parameter.name))
            takes_one = isinstance(parameter, typer.core.TyperOption) and not (parameter.multiple or parameter.is_flag)
            if takes_one and order.count(parameter) > 1:
                raise UsageError(f"{parameter.opts[-1]} is given {order.count(parameter)} times; give it once")
        return super().parse_args(ctx, args)

    def _require_path(self, parameter: Any, value: object) -> None:
        """Raise `UsageError` if a path is empty, or if an output file is written like a folder.

        `Path` would drop the slash without a word.
        """
        is_option = isinstance(parameter, typer.core.TyperOption)
        name, kind = parameter.opts[-1] if is_option else parameter.metavar, PATHS.get(parameter.metavar)
        values = value if isinstance(value, (list, tuple)) else [value]
        if kind is not None and any(isinstance(each, str) and not each.strip() for each in values):
            raise UsageError(f"{name} is empty; give a {kind}")
        if parameter.metavar == "FILE" and isinstance(value, str) and value.endswith(("/", os.sep)):
            raise UsageError(f"{name} takes a file, not the folder {value}; choose a file, such as {value}NAME")


app = typer.Typer(
    name="carousel",
    cls=_Commands,
    help="Benchmark what sequence architectures remember, over what distance, and at what cost per step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)

app.callback()(version.global_options)
app.command(cls=_Command)(run.run)
app.command(cls=_Command, name="list")(listing.list_)
app.command(cls=_Command, name="show-task")(listing.show_task)
app.command(cls=_Command, name="show-arch")(listing.show_arch)
app.command(cls=_Command)(report.show)
app.command(cls=_Command)(report.report)
app.command(cls=_Command)(report.gates)
app.command(cls=_Command)(compare.compare)
app.command(cls=_Command)(compare.check)
app.command(cls=_Command)(bisect.bisect)
app.command(cls=_Command)(store.history)
app.command(cls=_Command)(store.merge)
app.command(cls=_Command)(store.export)
app.command(cls=_Command)(store.verify)
app.command(cls=_Command)(validate.validate)
app.command(cls=_Command)(doctor.doctor)

CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]
"""Typer's base class for command-line errors, such as an unknown option or an invalid value."""


def main() -> None:
    """Run the `carousel` command, and raise `SystemExit` with its exit code.

    A user's mistake, or an error inside a plugin, is reported as one line on standard error. Any other error is one
    line with the code `UNEXPECTED`. If the environment variable `CAROUSEL_DEBUG` is 1, its traceback comes first. The
    code does not depend on whether the output is read.
    """
    show_warnings_in_one_line()
    with lasting_streams(), _noticing_interrupts() as interrupts:
        try:
            code = _exit_code()
            flush_streams()
        except Exception as error:
            if interrupts and not _is_user_mistake(error):  # an import that Ctrl-C has cut off fails in any way
                _print_error("stopped")
                code = INTERRUPTED
            else:
                code = _report(error)
    raise SystemExit(code)


@contextlib.contextmanager
def _noticing_interrupts() -> Iterator[list[int]]:
    """Yield a list that receives the signal of each Ctrl-C within a `with` block. Ctrl-C still raises its exception."""
    interrupts: list[int] = []

    def notice(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # otherwise it may be ignored, as by nohup
    if is_usual:
        signal.signal(signal.SIGINT, notice)
    try:
        yield interrupts
    finally:
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit_code() -> int:
    try:
        check_installation()
        return commands()(prog_name="carousel", standalone_mode=False) or OK
    except typer.Abort:
        return INTERRUPTED
    except (KeyboardInterrupt, Stopped):
        _print_error("stopped")
        return INTERRUPTED
    except CommandLineError as error:
        _forget_hidden_options(error)
        message = error.format_message()  # type: ignore[attr-defined]
        if sys.argv[1:]:
            text = " ".join(message.replace("Value error, ", "", 1).split()).removesuffix(".")
            _print_error(f"{text}; see {_command_of(error)} --help")
        else:
            print(message, file=sys.stderr)  # without arguments, the message is the help text
        return USAGE
    except SystemExit as error:
        if _is_from_typer(error):
            raise
        raise RuntimeError(f"something called sys.exit({error.code!r})") from error


def _forget_hidden_options(error: Exception) -> None:
    """Remove options that the help does not show from the options that an error suggests."""
    context, suggested = getattr(error, "ctx", None), getattr(error, "possibilities", None)
    if context is not None and suggested:
        hidden = {name for each in context.command.params if getattr(each, "hidden", False) for name in each.opts}
        error.possibilities = [name for name in suggested if name not in hidden]  # type: ignore[attr-defined]


def _command_of(error: Exception) -> str:
    """Return the command whose help explains a wrong command line: `carousel gates`."""
    context = getattr(error, "ctx", None)
    return "carousel" if context is None else str(context.command_path)


@cache
def commands() -> Any:
    """Return the group of all commands. Typer takes tens of milliseconds to build it, so one process builds it once."""
    return typer.main.get_command(app)


def _is_from_typer(error: SystemExit) -> bool:
    """Return whether typer raised an exception itself, as it does after it has completed a word."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(names[-1].startswith("typer."))


def _report(error: Exception) -> int:
    """Report an error in one line on standard error, and return the exit code."""
    if _is_user_mistake(error):
        _print_error(message_of(error))
        return getattr(error, "exit_code", USAGE)
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    if (blame := _blame(error)) is not None:
        _print_error(blame)
        return USAGE
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    name, colon, message = name_and_message(error).partition(": ")
    _print_error(f"unexpected error: {name}{where}{colon}{message}; set {DEBUG}=1 for the traceback")
    return UNEXPECTED


def _blame(error: Exception) -> str | None:
    """Return one line that names the plugin in whose code an exception was raised; None if no plugin is involved."""
    if "bench.plugins.sanity" not in sys.modules:  # no plugin has been loaded
        return None
    from bench.plugins.sanity import blame_plugin

    return blame_plugin(error)


def _print_error(message: str) -> None:
    print(f"carousel: {printable(message)}", file=sys.stderr)  # typer would write UTF-8 to an ASCII stream


def _is_user_mistake(error: Exception) -> bool:
    if isinstance(error, UsageError):
        return True
    if "results" not in sys.modules:  # importing it takes time, and may be what has failed
        return False
    from results import StoreError
    from results.comparison import RenameError

    return isinstance(error, (StoreError, RenameError))
