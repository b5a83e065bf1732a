"""The types of the whole project are correct.

mypy uses one core. As a test, it runs while another worker runs other tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_mypy_finds_no_mistake() -> None:
    ended = subprocess.run([sys.executable, "-m", "mypy"], cwd=HOME, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
