"""Plant a real regression and check that it is found.

    python -m tests.regression [--repeat 6]
    python -m tests.regression --in-turns streaming|training [--times 10] [--busy]

The five packages are copied to a temporary folder. In the copy, the LSTM's streaming kernel computes all sums of
products twice. A small plan is run with the original, with the copy, and with the original again. By default, each run
takes every timing in six fresh processes. These commands then examine the runs:

    check, original against original    must exit with code 0, and find most timings unchanged
    check, original against copy        must exit with code 1, and report all of the LSTM's steps in compiled code, and
                                        nothing but its steps
    verify                              must pass, and must name a record after one of its bits is flipped

With `--in-turns`, a step of the copy takes only about a tenth longer: a streamed step or a training step. The copy is
measured in turns with the original by `carousel run --against`, and so is an unchanged copy:

    an unchanged copy                   must exit with code 0
    the slower copy                     must exit with code 1, and report nothing but the LSTM's slower steps

Each decision may take three minutes at most. With `--busy`, another process keeps one core busy. The slower copy may
then be inconclusive, and a decision may take longer.

Use a quiet machine: if timings are too noisy to judge, the exit code is 2.
"""

from __future__ import annotations

import argparse
import sys

from tests.regression.in_sequence import measure_in_sequence
from tests.regression.in_turns import TRIALS, measure_in_turns


def main() -> int:
    """Parse the options, run one of the two checks, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.regression", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=6, help="Fresh processes per timing (default: %(default)s).")
    parser.add_argument("--in-turns", choices=sorted(TRIALS), help="Measure in turns, by `carousel run --against`.")
    parser.add_argument("--times", type=int, default=1, help="Repetitions of --in-turns (default: %(default)s).")
    parser.add_argument("--busy", action="store_true", help="Keep one core busy during --in-turns.")
    given = parser.parse_args()
    if given.in_turns is not None:
        return measure_in_turns(given.in_turns, given.times, given.busy)
    return measure_in_sequence(given.repeat)


if __name__ == "__main__":
    sys.exit(main())
