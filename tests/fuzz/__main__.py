"""Run random programs: `python -m tests.fuzz [--programs 10000] [--seed 0]`, or `--faults` to test the fuzzer itself.

Each program builds a model, changes it, and compares every result of the kernels with the equations in float64 (see
`tests.fuzz.programs`). The programs run in child processes, because a kernel that leaves its memory ends the process.
The seed of each difference is printed. `--seed SEED --programs 1` repeats it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
CHUNK = 250
"""Number of programs per child process."""
PROGRAMS_PER_FAULT, PROGRAMS_PER_TRY = 600, 40
"""Number of programs in which a planted fault must be found, and how many run before the first look."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to plant: an exact snippet of a file of `arch/kernels`, and its replacement."""

    file: str
    original: str
    replacement: str


FAULTS = (
    Fault("cells/gated.py", "return r, z, n, fma(z, h - n, n)", "return r, z, n, fma(z, h, n)"),
    Fault("streaming/recurrent_step.py", "copy(y, B * H, h)\n\n    @njit", "copy(y, B * H + 1, h)\n\n    @njit"),
    Fault("simd/panels.py", "left[at] ^ right[at]", "0"),
    Fault("streaming/block_step.py", "length + 1 - first,", "length + 2 - first,"),
    Fault("training/lstm.py", "dc * f)  # (11)", "dc * i)  # (11)"),
    Fault("training/chunked.py", "store_first(d_x, at + d, D - d,", "store_first(d_x, at + d, D - d + 1,"),
    Fault("training/attention.py", "seen_now = t + 1 if t < T", "seen_now = t + 2 if t < T"),
)


def main() -> int:
    """Run the programs, or find the planted faults, and return the exit code."""
    parser = argparse.ArgumentParser(description="Compare kernels with the equations in random programs.")
    parser.add_argument("--programs", type=int, default=10_000, help="Number of programs.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the first program.")
    parser.add_argument("--faults", action="store_true", help="Check that each planted fault is found.")
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.progress is not None:
        return _run_here(options.seed, options.programs, options.progress)
    if options.faults:
        missed = [fault for fault in FAULTS if not found(fault)]
        return 1 if missed else 0
    failures = differences(HOME, options.seed, options.programs)
    print("\n".join(failures) or f"{options.programs:,} programs without a difference")
    return 1 if failures else 0


def differences(home: Path, seed: int, programs: int, *, chunk: int = CHUNK) -> list[str]:
    """Run programs with the code in `home`, and return a line for each difference.

    Args:
        home: Folder of the checkout to run.
        seed: Seed of the first program.
        programs: Number of programs. Their seeds are consecutive.
        chunk: Number of programs per child process. A chunk ends at a program that ends the process.
    """
    starts = range(seed, seed + programs, chunk)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = pool.map(lambda start: _chunk(home, start, min(chunk, seed + programs - start), Path(folder)), starts)
        return [line for chunk in chunks for line in chunk]


def _chunk(home: Path, start: int, count: int, folder: Path) -> list[str]:
    """Run some programs in a child process. The lines include the seed of a program that ends the process."""
    progress = folder / str(start)
    command = [sys.executable, "-m", "tests.fuzz", "--seed", str(start), "--programs", str(count)]
    environment = os.environ | {"PYTHONPATH": str(home)}
    child = subprocess.run(
        [*command, "--progress", str(progress)], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    lines = child.stdout.splitlines()
    if child.returncode not in (0, 1) or (child.returncode == 1 and not lines):
        last = progress.read_text() if progress.exists() else str(start)
        error = (child.stderr.strip().splitlines() or ["no message"])[-1]
        lines.append(f"seed {last}: the process ended with status {child.returncode}: {error}")
    return lines


def _run_here(seed: int, programs: int, progress: Path) -> int:
    """Run programs in this process, print each difference, and write the seed of the current program to a file."""
    import torch

    from tests.fuzz.programs import Difference, Program

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    failed = 0
    for number in range(seed, seed + programs):
        progress.write_text(str(number))
        try:
            Program(number).run()
        except Difference as difference:
            print(difference, flush=True)
            failed = 1
    return failed


def found(fault: Fault) -> bool:
    """Plant a fault in a copy of the checkout, and return whether the programs find it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(HOME, copy, ignore=shutil.ignore_patterns(".*", "runs", "__pycache__", "docs"))
        path = copy / "arch" / "kernels" / fault.file
        text = path.read_text(encoding="utf-8")
        assert text.count(fault.original) == 1, f"{fault.original!r} must stand in {fault.file} exactly once"
        path.write_text(text.replace(fault.original, fault.replacement), encoding="utf-8")
        lines: list[str] = []
        for first in range(0, PROGRAMS_PER_FAULT, PROGRAMS_PER_TRY):
            lines = lines or differences(copy, first, PROGRAMS_PER_TRY, chunk=PROGRAMS_PER_TRY)
    print(f"{fault.file}: {fault.replacement}: {f'found, {lines[0]}' if lines else 'NOT FOUND'}", flush=True)
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
