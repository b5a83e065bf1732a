"""Test specs: strict parsing for users, lenient parsing for records, and one canonical form."""

from __future__ import annotations

import pytest

from results.specs import Spec, SpecError


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("lstm", "lstm", {}),
        ("lstm:", "lstm", {}),
        ("lstm:bias=False,forget_bias=1", "lstm", {"bias": "False", "forget_bias": "1"}),
        (" lstm : bias = False ", "lstm", {"bias": "False"}),
        ("text:path=/a=b", "text", {"path": "/a=b"}),
        ("text:path=C:/corpus.txt", "text", {"path": "C:/corpus.txt"}),
    ],
)
def test_a_spec_has_a_name_and_options(text: str, name: str, options: dict[str, str]) -> None:
    spec = Spec(name, options)
    assert Spec.parse(text) == Spec.parse_stored(str(spec)) == spec


def test_str_sorts_the_options() -> None:
    assert str(Spec.parse("lstm:forget_bias=1,bias=False")) == "lstm:bias=False,forget_bias=1"
    assert str(Spec("lstm")) == "lstm"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a spec of the form name:option=value,option=value"),
        (":bias=True", "':bias=True' is not a spec of the form "),
        ("lstm:bias", "'lstm:bias' is not a spec of the form "),
        ("lstm:bias=True,", "is not a spec of the form "),
        ("lstm:bias=True, bias=False", "repeats an option"),
        ("lstm:bias=True,bias=False", "'lstm:bias=True,bias=False' repeats an option; give each option once"),
    ],
)
def test_malformed_specs_are_refused_only_if_a_user_wrote_them(text: str, message: str) -> None:
    with pytest.raises(SpecError) as refusal:
        Spec.parse(text)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
    assert Spec.parse_stored(text).name == text.partition(":")[0]


def test_equal_specs_have_equal_hashes() -> None:
    one, other = Spec.parse("lstm:bias=False,forget_bias=1"), Spec.parse("lstm:forget_bias=1,bias=False")
    assert {one: "value"}[other] == "value"
