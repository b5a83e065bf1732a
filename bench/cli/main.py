"""The `carousel` command.

Commands import heavy libraries only when they run, so that `carousel --help` is fast.
"""

from __future__ import annotations

import sys

import typer

from bench.cli import compare, doctor, listing, report, run, store, validate, version
from bench.cli.installation import check_installation
from bench.errors import INTERRUPTED, OK, USAGE, UsageError, show_warnings_in_one_line

app = typer.Typer(
    name="carousel",
    help="Benchmark what sequence architectures remember, over what distance, and at what cost per step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)

app.callback()(version.global_options)
app.command()(run.run)
app.command(name="list")(listing.list_)
app.command(name="show-task")(listing.show_task)
app.command()(report.show)
app.command()(report.report)
app.command()(report.gates)
app.command()(compare.compare)
app.command()(compare.check)
app.command()(store.history)
app.command()(store.merge)
app.command()(store.export)
app.command()(store.verify)
app.command()(validate.validate)
app.command()(doctor.doctor)

CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]
"""Typer's base class for command-line errors, such as an unknown option or an invalid value."""


def main() -> None:
    """Run the `carousel` command, and raise `SystemExit` with its exit code.

    A user's mistake is reported as one line on standard error. Any other error keeps its traceback.
    """
    show_warnings_in_one_line()
    try:
        check_installation()
        code = app(prog_name="carousel", standalone_mode=False)
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    except KeyboardInterrupt:
        typer.echo("carousel: stopped", err=True)
        raise SystemExit(INTERRUPTED) from None
    except CommandLineError as error:
        message = error.format_message()  # type: ignore[attr-defined]
        if sys.argv[1:]:
            message = f"carousel: {' '.join(message.split()).removesuffix('.')}; see carousel --help"
        typer.echo(message, err=True)  # without arguments, the message is the help text
        raise SystemExit(USAGE) from None
    except ValueError as error:
        if not _is_user_mistake(error):
            raise
        typer.echo(f"carousel: {error}", err=True)
        raise SystemExit(getattr(error, "exit_code", USAGE)) from None
    raise SystemExit(code or OK)


def _is_user_mistake(error: ValueError) -> bool:
    if isinstance(error, UsageError):
        return True
    from results import StoreError

    return isinstance(error, StoreError)
