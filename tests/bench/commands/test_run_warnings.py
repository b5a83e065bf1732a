"""What a run says about plugins whose cases failed."""

from __future__ import annotations

import pytest

from bench.commands.run_warnings import spoilt_plugins
from results import Status
from tests.reports import synthetic

ADVICE = "To find why cases of gru failed, run carousel validate --plugin FILE."


@pytest.mark.parametrize(
    ("status", "plugins", "advice"),
    [
        (
            "inconsistent",
            {"gru": "0123456789"},
            [ADVICE],
        ),
        ("diverged", {"gru": "0123456789"}, [ADVICE]),
        ("diverged", {}, []),
        ("timeout", {"gru": "0123456789"}, []),
    ],
)
def test_a_plugin_that_failed_is_sent_to_validate(status: Status, plugins: dict[str, str], advice: list[str]) -> None:
    case = synthetic.case("gru:init=orthogonal", "adding", 32, 0)
    record = synthetic.record(case).model_copy(update={"status": status})
    run = synthetic.run([case]).model_copy(update={"plugins": plugins})
    assert spoilt_plugins(run, [record]) == advice
