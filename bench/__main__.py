"""`python -m bench` is `carousel`."""

from bench.cli.main import main

if __name__ == "__main__":
    main()
