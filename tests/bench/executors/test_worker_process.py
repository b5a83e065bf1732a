"""What a worker process imports: each timing that is repeated starts a process."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_imports_nothing_for_reports_and_the_terminal() -> None:
    lines = (
        "import sys, bench.executors.worker_process, bench.executors.timing_job, bench.executors.training_job",
        "print(sorted({'reports', 'scipy', 'pandas', 'matplotlib', 'rich', 'typer', 'numba'} & set(sys.modules)))",
    )
    result = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
