"""Run the `carousel` command, also with `python -m bench`."""

import sys

from bench.machine.import_path import order_import_path

order_import_path()  # before any other import, because the working directory may contain a `signal.py`


def main() -> None:
    """Run the `carousel` command. Ctrl-C ends it in one line, even while modules are imported."""
    try:
        from bench.cli.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        print("carousel: stopped", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
