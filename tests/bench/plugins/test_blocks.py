"""Blocks around the layers of plugins: options, defaults, and the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import arch
from arch.core.block import Block
from bench.plugins.loader import install, load
from bench.training.model import check_model
from bench.validation import ARCH_CHECKS, ArchExample
from results import Budget
from tests.bench.plugin_files import ARCH
from tests.bench.tiny import subject

DEFAULT = "    default_block = BlockOptions(block='residual', conv=4, expansion=2)\n\n    def __init__"
OWN_CONSTRUCTOR = '''"""{name}: attention with a constructor of its own."""

import arch


class Scaled(arch.get("transformer").layer):
    def __init__(self, inputs: int, width: int, *, heads: int = 1) -> None:
        super().__init__(inputs, width, heads=heads)
'''
INHERITED_CONSTRUCTOR = '''"""{name}: attention with the constructor of the transformer."""

import arch


class Scaled(arch.get("transformer").layer):
    pass
'''


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


def load_plugin(folder: Path, text: str) -> str | None:
    """Load a plugin `scaled`, and return the reason if it is disabled."""
    (folder / "scaled.py").write_text(text.replace("{name}", "scaled"), encoding="utf-8")
    disabled = load([folder / "scaled.py"]).disabled
    return disabled[0].reason if disabled else None


def with_default(text: str) -> str:
    return text.replace("from arch import Layer", "from arch import BlockOptions, Layer").replace(
        "    def __init__", DEFAULT, 1
    )


def layer_names(spec: str) -> list[str]:
    return [type(layer).__name__ for layer in arch.build(spec, channels=3, outputs=2, width=8).layers]


@pytest.mark.parametrize("check", ARCH_CHECKS)
@pytest.mark.parametrize("level", ["layer", "reals"])
def test_a_plugin_in_a_block_keeps_the_contract(tmp_path: Path, check: str, level: str) -> None:
    assert load_plugin(tmp_path, ARCH) is None
    steps = 64 if check == "long_sequences" else 5
    spec = "scaled:block=residual,conv=4,expansion=2"
    ARCH_CHECKS[check](ArchExample(package=arch, spec=spec, level=level, width=4, steps=steps))  # type: ignore[arg-type]


def test_a_plugin_stands_bare_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert load_plugin(tmp_path, ARCH) is None
    assert layer_names("scaled") == ["Scaled"] * 2
    assert layer_names("scaled:conv=4") == ["Block"] * 2
    assert load_plugin(tmp_path, with_default(ARCH)) is None
    assert layer_names("scaled") == ["Block"] * 2
    assert arch.get("scaled").block == arch.BlockOptions(block="residual", conv=4, expansion=2)
    assert str(arch.get("scaled:block=bare,conv=0")) == "scaled:block=bare,conv=0"
    assert layer_names("scaled:block=bare,conv=0") == ["Scaled"] * 2


def test_an_impossible_default_disables_the_plugin(tmp_path: Path) -> None:
    reason = load_plugin(tmp_path, with_default(ARCH).replace("conv=4", "conv=5"))
    assert reason is not None and "conv must be 0 or 4, not 5" in reason and "\n" not in reason


def test_a_subclass_of_a_whole_block_stays_what_it_was(tmp_path: Path) -> None:
    assert load_plugin(tmp_path, OWN_CONSTRUCTOR) is None
    assert layer_names("scaled") == ["Scaled"] * 2
    assert arch.get("scaled").block == arch.BlockOptions()
    assert load_plugin(tmp_path, INHERITED_CONSTRUCTOR) is None
    assert layer_names("scaled:expansion=2") == ["Scaled"] * 2
    assert layer_names("scaled:conv=4") == ["Block"] * 2


def test_the_parameters_of_a_block_count_in_a_budget(tmp_path: Path) -> None:
    assert load_plugin(tmp_path, ARCH) is None
    task = subject("gru").task
    for spec in ("scaled", "scaled:block=residual,conv=4,expansion=4"):
        assert check_model(spec, task, length=8, depth=2, budget=Budget("params", 5_000)) == pytest.approx(
            5_000, rel=0.1
        )
    model = arch.build("scaled:block=residual,conv=4,expansion=4", channels=8, outputs=2, width=8, depth=1)
    (block,) = model.layers
    assert isinstance(block, Block)
    own = 2 * 8 + 4 * 8 + 8 + 2 * 8 + (8 * 32 + 32) + (32 * 8 + 8) + 2 * 8
    assert arch.parameter_count(block) == arch.parameter_count(block.layer) + own
