"""`python -m bench` is `carousel`."""

from bench._cli import main

if __name__ == "__main__":
    main()
