"""The architecture registry: names from files, specs, options, suggestions, and isolation from broken files."""

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


def test_names_are_the_public_files_of_the_folder() -> None:
    assert {"gru", "lstm", "rnn", "transformer"} <= set(arch.names())
    assert arch.names() == sorted(file.stem for file in SOURCE.glob("[!_]*.py"))


@pytest.mark.parametrize("name", arch.names())
def test_a_bare_name_gives_the_layer_with_default_options(name: str) -> None:
    selected = arch.get(name)
    assert selected.name == name == str(selected)
    assert issubclass(selected.layer, arch.Layer) and selected.layer.__module__ == f"arch.{name}"
    assert selected.options == {}
    assert selected.summary.endswith(".") and "\n" not in selected.summary
    assert "dropout" in selected.parameters


@pytest.mark.parametrize("spec", every_spec())
def test_a_written_spec_gives_the_same_architecture(spec: str) -> None:
    selected = arch.get(spec)
    assert arch.get(str(selected)) == selected
    assert str(arch.get(str(selected))) == str(selected)


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
def test_specs_are_written_sorted_and_without_defaults(given: str, written: str) -> None:
    assert str(arch.get(given)) == written


def test_options_have_the_annotated_types() -> None:
    assert dict(arch.get("lstm:bias=false,forget_bias=2,dropout=.5").options) == {
        "bias": False,
        "forget_bias": 2.0,
        "dropout": 0.5,
    }
    options = arch.get("transformer:window=8,heads=4").options
    assert options == {"window": 8, "heads": 4} and {type(value) for value in options.values()} == {int}


def test_later_options_replace_earlier_ones() -> None:
    chosen = arch.get("lstm:forget_bias=1,bias=False")
    assert str(chosen.with_options({"forget_bias": "2"})) == "lstm:bias=False,forget_bias=2.0"
    assert str(chosen.with_options({"forget_bias": 0.0})) == "lstm:bias=False"
    assert str(chosen) == "lstm:bias=False,forget_bias=1.0"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("transfomer", "no architecture 'transfomer'; did you mean 'transformer'? Available: "),
        ("ltsm", "did you mean 'lstm'?"),
        ("LSTM", "no architecture 'LSTM'"),
        ("_contract", "no architecture '_contract'"),
        ("kernels", "no architecture 'kernels'"),
        ("../tasks/adding", "no architecture"),
        ("lstm:forgetbias=1", "lstm has no option 'forgetbias'; did you mean 'forget_bias'? Available: "),
        ("gru:forget_bias=1", "gru has no option 'forget_bias'"),
        ("lstm:inputs=1", "lstm has no option 'inputs'"),
    ],
)
def test_unknown_names_get_a_suggestion(spec: str, message: str) -> None:
    with pytest.raises(arch.UnknownName) as refusal:
        arch.get(spec)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
    assert isinstance(refusal.value, ValueError)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "'' is not a spec of the form name:option=value"),
        (":bias=True", "is not a spec of the form"),
        ("lstm:bias", "is not a spec of the form"),
        ("lstm:bias=True,", "is not a spec of the form"),
        ("lstm:bias=True,bias=False", "repeats an option; give each option once"),
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
def test_invalid_specs_are_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        arch.get(spec)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
    assert not isinstance(refusal.value, arch.UnknownName)


def test_get_imports_only_the_named_file(tmp_path: Path) -> None:
    with rebuilt(tmp_path, {}) as package:
        neighbours = [f"arch.{name}" for name in package.names()]
        assert not set(neighbours) & set(sys.modules)
        package.get("gru")
        assert [name for name in neighbours if name in sys.modules] == ["arch.gru"]


@pytest.mark.parametrize("text", ["raise RuntimeError('broken')", "def (", "import no_such_module", ""], ids=repr)
def test_a_broken_file_breaks_no_other_architecture(text: str, tmp_path: Path) -> None:
    with rebuilt(tmp_path, {"broken.py": text}) as package:
        assert package.names() == sorted([*arch.names(), "broken"])
        for name in arch.names():
            assert package.build(name, channels=1, outputs=1, width=8).layers
        with pytest.raises((RuntimeError, SyntaxError, ImportError, ValueError)):
            package.get("broken")


def test_a_new_file_adds_an_architecture(tmp_path: Path) -> None:
    with rebuilt(tmp_path, {"last.py": LAST.format(name="Last"), "_hidden.py": ""}) as package:
        last = package.get("last:delay=3")
        assert str(last) == "last:delay=3" and last.summary == "remembers one step."
        assert package.names() == sorted([*arch.names(), "last"])
    assert "last" not in arch.names()


@pytest.mark.parametrize(
    ("text", "count"),
    [("x = 1\n", 0), ("from arch.rnn import RNN\n", 0), (LAST.format(name="One") + LAST.format(name="Two"), 2)],
    ids=["none", "imported", "two"],
)
def test_a_file_must_define_exactly_one_layer(text: str, count: int, tmp_path: Path) -> None:
    with rebuilt(tmp_path, {"odd.py": text}) as package:
        message = f"arch/odd.py must define exactly one Layer, but defines {count}"
        with pytest.raises(ValueError, match=message):
            package.get("odd")
