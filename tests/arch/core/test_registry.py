"""The folder listing is the registry: names, specs, suggestions, and neighbours that do not matter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import arch
from tests.arch.rebuilt import SOURCE, rebuilt
from tests.arch.subjects import every_spec

LAST = '''"""Last: remembers one step."""

from arch.core.layer import Layer


class {name}(Layer):
    def __init__(self, inputs: int, width: int, *, delay: int = 1) -> None:
        super().__init__()

    def init_state(self, batch):
        return ()

    def step(self, x_BD, state):
        return x_BD, state

    def scan(self, x_BTD, state):
        return x_BTD, state
'''


def test_the_names_are_the_files() -> None:
    assert {"gru", "lstm", "rnn", "transformer"} <= set(arch.names())
    assert arch.names() == sorted(file.stem for file in SOURCE.glob("[!_]*.py"))


@pytest.mark.parametrize("name", arch.names())
def test_a_name_gives_its_layer_with_its_defaults(name: str) -> None:
    found = arch.get(name)
    assert found.name == name == str(found)
    assert issubclass(found.layer, arch.Layer) and found.layer.__module__ == f"arch.{name}"
    assert found.options == {}
    assert found.summary.endswith(".") and "\n" not in found.summary
    assert "dropout" in found.parameters


@pytest.mark.parametrize("spec", every_spec())
def test_a_spec_survives_being_written(spec: str) -> None:
    found = arch.get(spec)
    assert arch.get(str(found)) == found
    assert str(arch.get(str(found))) == str(found)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("lstm:forget_bias=1,bias=False", "lstm:bias=False,forget_bias=1.0"),
        ("lstm: bias = no , forget_bias = 1e0 ", "lstm:bias=False,forget_bias=1.0"),
        ("lstm:bias=True,forget_bias=0", "lstm"),
        ("lstm:dropout=0.25", "lstm:dropout=0.25"),
        ("lstm:", "lstm"),
        ("gru:reset=after", "gru"),
        ("rnn:init=identity,nonlinearity=relu", "rnn:init=identity,nonlinearity=relu"),
        ("transformer:window=none,heads=4", "transformer:heads=4"),
        ("transformer:window=8,positions=alibi", "transformer:positions=alibi,window=8"),
        ("transformer:positions=none", "transformer:positions=none"),
    ],
)
def test_a_spec_is_written_in_order_and_without_defaults(given: str, written: str) -> None:
    assert str(arch.get(given)) == written


def test_options_are_values_of_the_annotated_kinds() -> None:
    assert dict(arch.get("lstm:bias=false,forget_bias=2,dropout=.5").options) == {
        "bias": False,
        "forget_bias": 2.0,
        "dropout": 0.5,
    }
    options = arch.get("transformer:window=8,heads=4").options
    assert options == {"window": 8, "heads": 4} and {type(value) for value in options.values()} == {int}


def test_further_options_replace_earlier_ones() -> None:
    chosen = arch.get("lstm:forget_bias=1,bias=False")
    assert str(chosen.with_options({"forget_bias": "2"})) == "lstm:bias=False,forget_bias=2.0"
    assert str(chosen.with_options({"forget_bias": 0.0})) == "lstm:bias=False"
    assert str(chosen) == "lstm:bias=False,forget_bias=1.0"


def test_parse_takes_a_spec_apart() -> None:
    assert arch.parse("lstm") == ("lstm", {})
    assert arch.parse("lstm:bias=False,forget_bias=1") == ("lstm", {"bias": "False", "forget_bias": "1"})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("transfomer", "no architecture 'transfomer'; did you mean 'transformer'?; there are "),
        ("ltsm", "did you mean 'lstm'?"),
        ("LSTM", "no architecture 'LSTM'"),
        ("_contract", "no architecture '_contract'"),
        ("kernels", "no architecture 'kernels'"),
        ("../tasks/adding", "no architecture"),
        ("lstm:forgetbias=1", "lstm has no option 'forgetbias'; did you mean 'forget_bias'?; it has "),
        ("gru:forget_bias=1", "gru has no option 'forget_bias'"),
        ("lstm:inputs=1", "lstm has no option 'inputs'"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(spec: str, said: str) -> None:
    with pytest.raises(arch.UnknownName) as refusal:
        arch.get(spec)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)
    assert isinstance(refusal.value, ValueError)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "'' is not of the form name:option=value"),
        (":bias=True", "is not of the form"),
        ("lstm:bias", "is not of the form"),
        ("lstm:bias=True,", "is not of the form"),
        ("lstm:bias=True,bias=False", "each option once"),
        ("lstm:bias=perhaps", "lstm:bias=perhaps is not allowed: "),
        ("lstm:forget_bias=nan", "lstm:forget_bias=nan is not allowed: "),
        ("lstm:forget_bias=inf", "lstm:forget_bias=inf is not allowed: "),
        ("lstm:forget_bias=none", "is not allowed: "),
        ("lstm:init=identity", "lstm:init=identity is not allowed: "),
        ("rnn:nonlinearity=swish", "'tanh' or 'relu'"),
        ("transformer:heads=two", "transformer:heads=two is not allowed: "),
        ("transformer:heads=2.5", "transformer:heads=2.5 is not allowed: "),
        ("transformer:window=wide", "transformer:window=wide is not allowed: "),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(spec: str, said: str) -> None:
    with pytest.raises(ValueError) as refusal:
        arch.get(spec)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)
    assert not isinstance(refusal.value, arch.UnknownName)


def test_only_the_named_file_is_imported(tmp_path: Path) -> None:
    with rebuilt(tmp_path, {}) as package:
        neighbours = [f"arch.{name}" for name in package.names()]
        assert not set(neighbours) & set(sys.modules)
        package.get("gru")
        assert [name for name in neighbours if name in sys.modules] == ["arch.gru"]


@pytest.mark.parametrize("text", ["raise RuntimeError('broken')", "def (", "import no_such_module", ""], ids=repr)
def test_a_broken_neighbour_breaks_nobody_else(text: str, tmp_path: Path) -> None:
    with rebuilt(tmp_path, {"broken.py": text}) as package:
        assert package.names() == sorted([*arch.names(), "broken"])
        for name in arch.names():
            assert package.build(name, channels=1, outputs=1, width=8).layers
        with pytest.raises((RuntimeError, SyntaxError, ImportError, ValueError)):
            package.get("broken")


def test_adding_a_file_adds_an_architecture(tmp_path: Path) -> None:
    with rebuilt(tmp_path, {"last.py": LAST.format(name="Last"), "_hidden.py": ""}) as package:
        found = package.get("last:delay=3")
        assert str(found) == "last:delay=3" and found.summary == "remembers one step."
        assert package.names() == sorted([*arch.names(), "last"])
    assert "last" not in arch.names()


@pytest.mark.parametrize(
    ("text", "count"),
    [("x = 1\n", 0), ("from arch.rnn import RNN\n", 0), (LAST.format(name="One") + LAST.format(name="Two"), 2)],
    ids=["none", "imported", "two"],
)
def test_a_file_defines_exactly_one_layer(text: str, count: int, tmp_path: Path) -> None:
    with rebuilt(tmp_path, {"odd.py": text}) as package:
        said = f"arch/odd.py must define exactly one Layer, but defines {count}"
        with pytest.raises(ValueError, match=said):
            package.get("odd")
