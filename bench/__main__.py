"""Run the `carousel` command with `python -m bench`."""

from bench.machine.import_path import order_import_path

order_import_path()  # before any other import, because the working directory may contain a `signal.py`

from bench.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
