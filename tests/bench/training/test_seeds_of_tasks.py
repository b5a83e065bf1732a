"""Tasks with a data set of their own per seed: training, tests, gates and timings read that of the case's seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks
from bench.executors.jobs import TimeJob, TrainJob
from bench.executors.timing_job import run_timing_job
from bench.executors.training_job import run_training_job
from bench.plugins.loader import install, load
from results import TUNING_SEED
from tests.bench.plugin_files import TASK, write
from tests.bench.tiny import TIMING, tiny_case

SEEDED = TASK.replace(
    '    source: ClassVar[str] = "this test"\n',
    '    source: ClassVar[str] = "this test"\n    seen: ClassVar[list] = []\n    number: int = -1\n\n'
    "    def for_seed(self, seed):\n        return replace(self, number=seed)\n",
).replace("import dataclass", "import dataclass, replace")
NOTED = SEEDED.replace(
    "        inputs = torch.randint(", "        self.seen.append(self.number)\n        inputs = torch.randint("
)


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


@pytest.mark.parametrize("seed", [3, TUNING_SEED])
def test_every_sample_of_a_case_knows_its_seed(tmp_path: Path, seed: int) -> None:
    loaded = load([write(tmp_path, "first_bit", NOTED)])
    seen = tasks.get("first_bit").seen  # type: ignore[attr-defined]
    seen.clear()
    case = tiny_case(task="first_bit", seed=seed)
    result = run_training_job(
        TrainJob(case=case, probes=("accuracy", "gates"), plugins=loaded.plugins), lambda *_: None
    )
    assert result.record.status == "ok"
    job = TimeJob(cases=(case,), weights=(result.weights,), probes=("latency",), timing=TIMING, plugins=loaded.plugins)
    run_timing_job(job)
    assert set(seen) == {seed}
    assert result.record.case.task == "first_bit"


def test_built_in_tasks_are_the_same_for_every_seed() -> None:
    task = tasks.build("parity")
    assert task.for_seed(5) is task
