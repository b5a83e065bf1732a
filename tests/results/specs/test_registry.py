"""Test the registry of architectures and tasks: names from files, plugins, suggestions and options."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from results.specs import Option, Registry, UnknownName, parse_options, suggestion

HOME = Path(__file__).resolve().parents[3]
SIGNATURE = {
    "rate": Option(float, 1.0),
    "window": Option(int | None, None),
    "mode": Option(Literal["fast", "exact"], "exact"),
}


class Shape:
    """The base class of the registered shapes."""


class Circle(Shape):
    """The class of a plugin."""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Shape]:
    """Return the registry of a package with a valid module, a module without a shape and an unparsable module."""
    folder = tmp_path / "carousel_shapes"
    (folder / "subpackage").mkdir(parents=True)
    importing = f"from {__name__} import Circle, Shape\n"
    files = {
        "__init__.py": "",
        "subpackage/__init__.py": "",
        "_private.py": "",
        "square.py": f"{importing}\n\nclass Square(Shape): ...\n",
        "empty.py": importing,
        "broken.py": "def (",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("carousel_shapes")]:
        monkeypatch.delitem(sys.modules, name)
    return Registry(package="carousel_shapes", folder=folder, base=Shape, kind="shape")


def test_names_are_the_public_modules_and_the_plugins(shapes: Registry[Shape]) -> None:
    shapes.add("circle", Circle)
    assert shapes.names() == ["broken", "circle", "empty", "square"]
    assert shapes.built_in() == ["broken", "empty", "square"]
    shapes.remove("circle")
    assert shapes.names() == shapes.built_in()


def test_the_folder_is_listed_again_only_if_it_has_changed(
    shapes: Registry[Shape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[object] = []
    original = pkgutil.iter_modules
    monkeypatch.setattr(pkgutil, "iter_modules", lambda path: listed.append(path) or original(path))
    for _ in range(3):
        shapes.names().clear()  # the list belongs to the caller
        assert shapes.built_in() == ["broken", "empty", "square"]
    assert len(listed) == 1
    folder = tmp_path / "carousel_shapes"
    (folder / "triangle.py").touch()
    os.utime(folder, ns=(0, 0))  # a file system may store the time of a change coarsely
    assert shapes.built_in() == ["broken", "empty", "square", "triangle"]


def test_get_returns_the_class_that_the_module_defines(shapes: Registry[Shape]) -> None:
    assert shapes.get("square").__name__ == "Square"
    shapes.add("circle", Circle)
    assert shapes.get("circle") is Circle
    with pytest.raises(ValueError, match=r"carousel_shapes/empty\.py must define exactly one Shape, but defines 0"):
        shapes.get("empty")


def test_unknown_and_taken_names_are_refused(shapes: Registry[Shape]) -> None:
    with pytest.raises(UnknownName) as refusal:
        shapes.get("sqare")
    assert str(refusal.value) == "no shape 'sqare'; did you mean 'square'? Available: broken, empty, square"
    with pytest.raises(ValueError, match="shape 'square' already exists; rename the plugin"):
        shapes.add("square", Circle)


def test_a_disabled_name_gives_its_reason_until_it_is_removed(shapes: Registry[Shape]) -> None:
    shapes.disable("square", "the plugin square is disabled: broken")
    with pytest.raises(ValueError, match="the plugin square is disabled: broken"):
        shapes.get("square")
    shapes.remove("square")
    assert shapes.get("square").__name__ == "Square"


def test_options_become_values_of_the_annotated_types() -> None:
    given = {"rate": "2", "window": "None", "mode": "fast"}
    assert parse_options("shape", SIGNATURE, given) == {"rate": 2.0, "window": None, "mode": "fast"}
    assert parse_options("shape", SIGNATURE, {"window": 3}) == {"window": 3}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("rate", "nan", "shape:rate=nan is not allowed: the value must be a finite number"),
        ("rate", "none", "shape:rate=none is not allowed: "),
        ("mode", "slow", "shape:mode=slow is not allowed: the value must be 'fast' or 'exact'"),
        ("widow", "3", "shape has no option 'widow'; did you mean 'window'? Available: rate, window, mode"),
    ],
)
def test_invalid_options_are_refused(option: str, value: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_options("shape", SIGNATURE, {option: value})
    assert str(refusal.value).startswith(message)


def test_a_suggestion_lists_the_known_names() -> None:
    assert suggestion("sqare", ["circle", "square"]) == "; did you mean 'square'? Available: circle, square"
    assert suggestion("x", ["circle", "square"]) == "; available: circle, square"
    assert suggestion("x", []) == "; available: none"


def test_specs_need_no_torch() -> None:
    code = "import sys, results.specs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=HOME, check=False).returncode == 0


def test_suggestion_does_not_depend_on_capital_letters() -> None:
    assert suggestion("LSTM", ["gru", "lstm"]) == "; did you mean 'lstm'? Available: gru, lstm"
    assert suggestion("adam", ["Adam", "SGD"]) == "; did you mean 'Adam'? Available: Adam, SGD"
