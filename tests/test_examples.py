"""Tests that the examples work as documented, with small training budgets."""

from __future__ import annotations

import doctest
import importlib
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arch
import tasks
from arch import to_float64
from bench.plugins.loader import install, load
from bench.validation.checker import validate_arch, validate_task
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline

__all__ = ["carousel", "inline"]

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ARCHS, TASKS = ("light_gru", "leaky_integrator"), ("majority", "control_charts")
SMALL = {"steps = 300": "steps = 2", "steps = 600": "steps = 2", "_sequences = 128": "_sequences = 8"}
SMALL |= {"_sequences = 512": "_sequences = 8", "evaluate_every = 50": "evaluate_every = 1"}


@pytest.fixture(autouse=True)
def _no_plugins_remain() -> Iterator[None]:
    yield
    install(())


def plugin(name: str) -> Path:
    return EXAMPLES / f"{name}.py"


def test_every_example_is_tested_here() -> None:
    elsewhere = {"torch_recurrent"}  # in tests/test_torch_recurrent.py
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*ARCHS, *TASKS, "session"} | elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHS)
def test_architecture_passes_every_check_in_every_variant(name: str) -> None:
    load([plugin(name)])
    for spec in (name, f"{name}:bias=False"):
        verdict = validate_arch(spec)
        assert verdict.failed == [] and (verdict.state or "").startswith("state constant")


@pytest.mark.parametrize("name", TASKS)
def test_task_passes_every_check(name: str) -> None:
    load([plugin(name)])
    assert validate_task(name).failed == []


def test_doctest_of_a_task_runs() -> None:
    ran = doctest.testmod(importlib.import_module("examples.majority"))
    assert ran.failed == 0 and ran.attempted > 0


def test_light_gru_streams_compiled() -> None:
    load([plugin("light_gru")])
    model = arch.build("light_gru", channels=2, outputs=3, width=20, depth=2, seed=0).eval()
    x_BTD = torch.randn(2, 30, 2)
    with torch.inference_mode():
        assert model.step_backend_for(x_BTD[:, 0], model.init_state(2)) == "fused"
        streamed, _ = model.stream(x_BTD, model.init_state(2))
        expected = to_float64(model)(x_BTD.double())
    torch.testing.assert_close(streamed.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_models_of_two_files_with_one_name_each_keep_their_compiled_cell(tmp_path: Path) -> None:
    text = plugin("light_gru").read_text(encoding="utf-8")
    files = {"first": text, "second": text.replace("fma(z, state[0] - n, n)", "fma(z, n - state[0], state[0])")}
    equation = "z_BH * state.h_BH + (1 - z_BH) * n_BH"
    files["second"] = files["second"].replace(equation, "torch.lerp(state.h_BH, n_BH, z_BH)")
    x_BTD = torch.randn(2, 30, 2)
    models, streamed = [], []
    for folder, content in files.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "light_gru.py").write_text(content, encoding="utf-8")
        load([tmp_path / folder / "light_gru.py"])
        models.append(arch.build("light_gru", channels=2, outputs=3, width=20, depth=2, seed=0).eval())
    with torch.inference_mode():
        for model in models:
            assert model.step_backend_for(x_BTD[:, 0], model.init_state(2)) == "fused"
            streamed.append(model.stream(x_BTD, model.init_state(2))[0])
            expected = to_float64(model)(x_BTD.double())
            torch.testing.assert_close(streamed[-1].double(), expected, rtol=0, atol=1e-6)
    assert (streamed[0] - streamed[1]).abs().max() > 1e-2


def test_leaky_integrator_computes_its_equations() -> None:
    load([plugin("leaky_integrator")])
    layer = arch.build("leaky_integrator", channels=1, outputs=1, width=1, depth=1, seed=3).double().layers[0]
    inputs = [-2.0, 0.5, 3.0]
    w, b, r = layer.seen.weight.item(), layer.seen.bias.item(), layer.rate_H.item()
    a, h, expected = 1 / (1 + math.exp(-r)), 0.0, []
    for x in inputs:
        h = a * h + (1 - a) * math.tanh(w * x + b)
        expected.append(h)
    x_BTD = torch.tensor(inputs, dtype=torch.float64)[None, :, None]
    assert layer(x_BTD).flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_charts_have_the_published_patterns() -> None:
    values, classes = importlib.import_module("examples.control_charts").charts(None)
    assert classes.bincount().tolist() == [100] * 6
    rise = values[:, 45:].mean(1) - values[:, :15].mean(1)
    means = [rise[classes == pattern].mean().item() for pattern in range(6)]
    assert means[2] > 0.4 < means[4] and means[3] < -0.4 > means[5]
    assert abs(means[0]) < 0.05 and abs(means[1]) < 0.1
    assert values[classes == 1].std() > 2 * values[classes == 0].std()


def test_charts_are_read_from_a_file_and_invalid_files_are_refused(tmp_path: Path) -> None:
    load([plugin("control_charts")])
    path = tmp_path / "charts.tsv"
    path.write_text("".join(f"{1 + i % 2}\t{i}\t{i % 3}\t{i % 5}\n" for i in range(60)), encoding="utf-8")
    task = tasks.build(f"control_charts:path={path}")
    assert (task.min_length, task.targets.size) == (3, 2)
    batch = task.sample(tasks.generator(0, "test"), 50, 3, "test")
    assert task.score(task.solve(batch), batch) == 1.0
    wrong = {
        "1 2 x\n": "could not convert",
        "1,2\n" * 40: "at least two",
        "1 2 3\n2 3 4\n": "only 1 of the 20 charts needed of class 1: add charts",
    }
    for text, message in wrong.items():
        (tmp_path / "wrong.tsv").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message) as caught:
            tasks.build(f"control_charts:path={tmp_path / 'wrong.tsv'}").check_length(3)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"none\.tsv cannot be read: No such file.*; give the path of a readable file"):
        tasks.build(f"control_charts:path={tmp_path / 'none.tsv'}").check_length(3)


def test_plan_runs_with_its_plugins(carousel: Carousel, inline: Inline, tmp_path: Path) -> None:
    text = (EXAMPLES / "counting.toml").read_text(encoding="utf-8")
    for original, small in SMALL.items():
        assert original in text
        text = text.replace(original, small)
    (tmp_path / "counting.toml").write_text(text, encoding="utf-8")
    plugins = [word for name in ("leaky_integrator", "majority") for word in ("--plugin", str(plugin(name)))]
    ended = carousel("run", "counting.toml", *plugins, "--seeds", "1", "--measure", "accuracy")
    assert ended.code == 0, ended.err
    file = Store(tmp_path / "carousel-runs").find("latest").file()
    assert len(file.cases) == 12 and file.plugins.keys() == {"leaky_integrator", "majority"}
    assert "leaky_integrator" in ended.out
    session = importlib.import_module("examples.session")
    session.show(tmp_path / "carousel-runs" / "latest")


def test_plan_with_a_wrong_key_is_refused(carousel: Carousel, tmp_path: Path) -> None:
    text = (EXAMPLES / "counting.toml").read_text(encoding="utf-8")
    for right, wrong in (("depth = 2", "deepness = 2"), ("batch = 32", "batches = 32"), ("seeds = 3", 'seeds = "3"')):
        (tmp_path / "wrong.toml").write_text(text.replace(right, wrong), encoding="utf-8")
        ended = carousel(
            "run", "wrong.toml", "--plugin", str(plugin("leaky_integrator")), "--plugin", str(plugin("majority"))
        )
        assert ended.code == 2 and len(ended.err.splitlines()) == 1
        assert wrong.split(" ")[0] in ended.err


def test_plan_without_its_plugin_reports_which_is_missing(carousel: Carousel, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "counting.toml", tmp_path)
    ended = carousel("run", "counting.toml", "--plugin", str(plugin("majority")))
    assert ended.code == 2 and ended.err.startswith("carousel: no architecture 'leaky_integrator'")


def test_shipped_plan_accepts_the_plugin(carousel: Carousel) -> None:
    ended = carousel(
        "run", "quick", "--plugin", str(plugin("leaky_integrator")), "-a", "+leaky_integrator", "--dry-run"
    )
    assert ended.code == 0 and "91 cases" in ended.out
    ended = carousel("run", "quick", "--plugin", str(plugin("leaky_integrator")), "-a", "leaky_integrator", "--dry-run")
    assert "18 cases" in ended.out


def test_session_trains_scores_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.random.get_rng_state()
    importlib.import_module("examples.session").main([], steps=2)
    torch.random.set_rng_state(before)
    out = capsys.readouterr().out
    (score,) = re.findall(r"score (0\.\d{3}), chance 0\.500", out)
    assert 0 < float(score) < 1
    (state,) = re.findall(r"after each step: \[(.*)\]", out)
    assert len(set(state.split(", "))) == 1


def test_leaky_integrator_is_exact_in_float32_over_long_sequences() -> None:
    load([plugin("leaky_integrator")])
    layer = arch.build("leaky_integrator", channels=3, outputs=1, width=4, depth=1, seed=0).layers[0]
    x_BTD = torch.randn(1, 65_536, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        actual = layer(x_BTD)
        expected = layer.double()(x_BTD.double())
    assert (actual - expected).abs().max() < 1e-5
