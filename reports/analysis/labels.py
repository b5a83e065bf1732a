"""Give cases short, unambiguous labels for tables and figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from reports.format.numbers import amount, listed
from results import Case, Protocol
from results.specs import Spec, value_text


class Labels:
    """Short labels of the architectures and tasks of a run.

    The label of an architecture with one variant in the run is its plain name: `lstm`. If there are several variants,
    the label adds the options that are not common to all variants. The size is added if the cases of the run differ in
    size. A protocol field is added if cases with equal model, task and length differ in this field. The field is left
    out if it has the value that more than half of the cases have. If the run also has trained cases, `untrained` is
    added instead to the label of an untrained one.
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        all_cases = list(cases)
        self._archs = _variants(case.arch for case in all_cases)
        self._tasks = _variants(case.task for case in all_cases)
        self._sizes_differ = len({_size(case) for case in all_cases}) > 1
        versions: defaultdict[str, set[int]] = defaultdict(set)
        for case in all_cases:
            versions[case.task].add(case.task_version)
        self._versioned = {task for task, numbers in versions.items() if len(numbers) > 1}
        trained = [case for case in all_cases if case.protocol.trains]
        self._has_trained = bool(trained)
        self._protocol_fields = _differing_fields(trained)

    def arch(self, case: Case) -> str:
        """Return the label of the architecture, such as `lstm:forget_bias=2`."""
        return " ".join([_short(case.arch, self._archs), *self._differs(case, with_usual=False)])

    def differs(self, case: Case) -> str:
        """Return in what, besides its options, the model of a case differs from others of the run.

        The text is as in the label, such as `batch=8`, but it also has the usual values of protocol fields. It is empty
        if the cases of the run differ in nothing of this kind.
        """
        return " ".join(self._differs(case, with_usual=True))

    def _differs(self, case: Case, *, with_usual: bool) -> list[str]:
        size = [_size(case)] if self._sizes_differ else []
        if not case.protocol.trains:
            return [*size, *(["untrained"] if self._has_trained else [])]
        fields = [
            f"{field}={value_text(value)}"
            for field, usual in self._protocol_fields.items()
            if (value := getattr(case.protocol, field)) != usual or with_usual
        ]
        return [*size, *fields]

    def task(self, case: Case) -> str:
        """Return the label of the task, with its version if the run has several versions of the task."""
        name = _short(case.task, self._tasks)
        return f"{name} v{case.task_version}" if case.task in self._versioned else name


def defaults_in_words(specification: str, others: Iterable[str]) -> str:
    """Return which options have their default here and not in another variant: `(default forget_bias and init)`.

    `others` are all full specs of the run. The text is empty if there is no such option.
    """
    spec = Spec.parse_stored(specification)
    variants = [other for text in others if (other := Spec.parse_stored(text)).name == spec.name]
    omitted = dict.fromkeys(option for other in variants for option in other.options if option not in spec.options)
    return f"(default {listed(sorted(omitted))})" if omitted and spec.name else ""


def _base(specification: str) -> str:
    return Spec.parse_stored(specification).name


def _variants(specifications: Iterable[str]) -> dict[str, set[str]]:
    """Map each plain name to all full specs with this name."""
    variants: defaultdict[str, set[str]] = defaultdict(set)
    for specification in specifications:
        variants[_base(specification)].add(specification)
    return dict(variants)


def _short(specification: str, variants: dict[str, set[str]]) -> str:
    base = _base(specification)
    if not base:
        return specification
    shared = set.intersection(*(set(_options(variant)) for variant in variants[base]))
    distinctive = [option for option in _options(specification) if len(variants[base]) > 1 and option not in shared]
    return f"{base}:{','.join(distinctive)}" if distinctive else base


def _options(specification: str) -> tuple[str, ...]:
    return Spec.parse_stored(specification).option_texts


def _size(case: Case) -> str:
    size = "" if case.budget is None else f", {amount(case.budget.kind, case.budget.amount)}"
    return f"depth {case.depth}{size.replace(' parameters', ' params')}"


def _differing_fields(cases: Sequence[Case]) -> dict[str, object]:
    """Return the usual value of each protocol field in which cases with equal model, task and length differ.

    A field without a usual value has the value None.
    """
    protocols: defaultdict[tuple[object, ...], set[Protocol]] = defaultdict(set)
    for case in cases:
        model_and_task = (case.arch, _size(case), case.task, case.task_version, case.length)
        protocols[model_and_task].add(case.protocol)
    mixed = [variants for variants in protocols.values() if len(variants) > 1]
    differ = [
        field
        for field in (type(cases[0].protocol).model_fields if cases else {})
        if any(len({str(getattr(protocol, field)) for protocol in variants}) > 1 for variants in mixed)
    ]
    return {field: _usual(getattr(case.protocol, field) for case in cases) for field in differ}


def _usual(values: Iterable[object]) -> object:
    """Return the value that more than half of the cases have, or None if there is no such value."""
    counts = Counter(values)
    value, count = counts.most_common(1)[0]
    return value if 2 * count > counts.total() else None
