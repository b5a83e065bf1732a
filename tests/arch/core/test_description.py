"""Descriptions of architectures: options, state and costs agree with the models, and docstrings have what they need."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

import arch
from arch.core.description.describe import POSITIONS, WIDTH, allowed_values
from arch.core.description.docstrings import arguments, attribute_texts, citations, split_summary
from arch.core.description.families import FAMILIES, NOTES
from arch.core.layer import BlockOptions


@pytest.mark.parametrize("name", arch.names())
def test_every_architecture_states_its_family_sources_and_equations(name: str) -> None:
    described = arch.describe(arch.get(name))
    assert described.family in FAMILIES, f'set `family = "..."` in the class of {name}, or in its base'
    assert described.sources, f"the docstring of {name} cites no paper, such as `Elman 1990`"
    assert "\n    " in f"\n{described.text}", f"the docstring of {name} has no indented equations"
    assert described.summary.endswith(".")


@pytest.mark.parametrize("name", arch.names())
def test_every_option_has_a_meaning_and_values(name: str) -> None:
    for option in arch.describe(arch.get(name)).options:
        assert option.meaning.endswith((".", ")")), f"{name}:{option.name} is not in the docstring's Args"
        assert option.values


@pytest.mark.parametrize("name", arch.names())
def test_state_and_costs_are_those_of_the_model(name: str) -> None:
    described = arch.describe(arch.get(name))
    width = described.width
    model = arch.build(name, channels=width, outputs=1, width=width, depth=described.depth, seed=0)
    assert described.parameters == sum(arch.parameter_count(layer) for layer in model.layers)
    inputs = torch.zeros(1, 40, width)
    short, *_ = described.costs
    assert short.state_bytes == model.state_bytes_after(inputs[:, :1])
    assert sum(part.bytes for part in described.state) == short.state_bytes
    assert [costs.position for costs in described.costs] == [steps for steps in POSITIONS if not _exceeds(model, steps)]
    for costs in described.costs:
        assert costs.step_flops == sum(layer.step_flops(costs.position) for layer in model.layers)
        assert costs.step_bytes == sum(layer.step_bytes(costs.position) for layer in model.layers)


def _exceeds(model: arch.SequenceModel, steps: int) -> bool:
    return model.max_length is not None and steps > model.max_length


def test_options_of_the_spec_show_their_value_beside_the_default() -> None:
    options = {option.name: option for option in arch.describe(arch.get("gru:reset=before,conv=4")).options}
    assert (options["reset"].default, options["reset"].value, options["reset"].values) == (
        "after",
        "before",
        "after or before",
    )
    assert options["reset"].meaning.startswith("Whether r is applied `after` the recurrent product")
    assert (options["conv"].value, options["conv"].group) == ("4", "block")
    assert (options["dropout"].group, options["bias"].group) == ("model", "layer")


def test_state_of_a_block_with_a_convolution_names_its_parts() -> None:
    described = arch.describe(arch.get("lstm:conv=4"), width=8)
    assert [(part.name, part.shape) for part in described.state] == [
        ("inputs_BKD", (3, 8)),
        ("layer.h_BH", (8,)),
        ("layer.c_BH", (8,)),
    ]
    deep = arch.describe(arch.get("gru"), width=8, depth=2)
    assert [part.name for part in deep.state] == ["0.h_BH", "1.h_BH"]


def test_state_of_attention_grows_and_that_of_a_recurrence_does_not() -> None:
    gru, transformer = (arch.describe(arch.get(name)).costs for name in ("gru", "transformer"))
    assert {costs.state_bytes for costs in gru} == {4 * WIDTH}
    assert [costs.state_bytes for costs in transformer] == [8 * WIDTH * steps for steps in POSITIONS]


def test_width_is_the_next_one_that_the_options_allow() -> None:
    assert arch.describe(arch.get("transformer:heads=6")).width == 72
    assert arch.describe(arch.get("gru")).width == WIDTH
    with pytest.raises(ValueError, match="width 10 is not a multiple of 12"):
        arch.describe(arch.get("transformer:heads=6"), width=10)


def test_positions_beyond_the_learned_ones_are_left_out() -> None:
    costs = arch.describe(arch.get("transformer:positions=learned,max_length=2000")).costs
    assert [each.position for each in costs] == [1, 1024]


def test_what_is_compiled_follows_from_the_options() -> None:
    compiled = arch.describe(arch.get("lstm"))
    assert (compiled.training_obstacle, compiled.streaming_obstacle) == (None, None)
    by_equations = arch.describe(arch.get("lstm:backend=reference"))
    assert by_equations.training_obstacle == "LSTM has no kernel for these options"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Literal["a", "b", "c"], "a, b or c"),
        (Literal[0, 4], "0 or 4"),
        (int | None, "int or None"),
        (bool, "True or False"),
        (float, "float"),
        (Literal["x"] | int, "x or int"),
    ],
)
def test_annotations_become_text(annotation: object, text: str) -> None:
    assert allowed_values(annotation) == text


def test_arguments_are_read_from_the_section_alone() -> None:
    docstring = """Title.

    Args:
        inputs, width: Sizes: of the layer
            and more.
        rate: A number.

    Returns:
        other: Nothing.
    """
    assert arguments(docstring) == {
        "inputs": "Sizes: of the layer and more.",
        "width": "Sizes: of the layer and more.",
        "rate": "A number.",
    }
    assert arguments("Title.") == arguments(None) == {}


@pytest.mark.parametrize(
    ("text", "papers"),
    [
        ("The source is Cho et al. 2014.", ("Cho et al. 2014",)),
        (
            "Gers, Schmidhuber & Cummins 2000; Le, Jaitly\n& Hinton (2015)",
            ("Gers, Schmidhuber & Cummins 2000", "Le, Jaitly & Hinton 2015"),
        ),
        ("In 2015 it was 1990-1995, by version 2024.", ()),
        ("Elman 1990, and Elman 1990 again", ("Elman 1990",)),
        ("with Kimi Team 2025", ("Kimi Team 2025",)),
        ("van den Oord et al. 2016", ("van den Oord et al. 2016",)),
    ],
)
def test_citations(text: str, papers: tuple[str, ...]) -> None:
    assert citations(text) == papers


def test_docstrings_of_attributes() -> None:
    texts = attribute_texts(BlockOptions)
    assert list(texts) == ["block", "conv", "expansion"]
    assert texts["expansion"].endswith("0 is no MLP.")
    assert split_summary("One.\n\n    Two.\n") == ("One.", "Two.")


def test_theory_has_statements_with_sources() -> None:
    for family in FAMILIES.values():
        assert family.form and family.can and family.cannot
    assert {"Grazzi et al. 2025", "Merrill, Petty & Sabharwal 2024", "Hahn 2020"} <= set(arch.sources_of_theory())
    assert all(text.endswith(".") for text in NOTES.values())
