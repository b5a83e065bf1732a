"""Models that a run trained in several ways: with remedies against overfitting, or over a sweep of the protocol.

A *family* holds the groups of one model on one task at one length. They differ in dropout or in fields of the protocol.
Its *plain* training is that of the plan's own protocol, which is the protocol of its first case in the order of the
plan. Dropout, a weight decay and more data are remedies if the fit to the training set was measured. Any other
difference is a sweep, and so are these if no fit was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group
from reports.analysis.traces import settings_of
from results import Case
from results.specs import Spec, value_text

DROPOUT = "dropout"
REMEDIES = frozenset({DROPOUT, "weight_decay", "train_sequences"})
"""The fields that can keep a model from overfitting."""
ACCOMPANYING = (
    ("train_sequences", frozenset({"epochs", "evaluate_every", "fit_sequences"})),
    ("weight_decay", frozenset({"weight_decay_on"})),
    ("steps", frozenset({"evaluate_every", "warmup_steps", "halve_every"})),
    ("batch", frozenset({"evaluate_every", "steps"})),
)
"""Fields that usually change with another one, and are then not named."""

Value = float | str | None
"""The value of a field of the protocol. Values that are no numbers are texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The groups of one model on one task at one length, which was trained in several ways."""

    plain: Group
    others: tuple[Group, ...]

    @property
    def measures_fit(self) -> bool:
        """Whether the fit to the training set was measured, for any of the groups."""
        return any(
            point.fit_loss is not None and point.validation_loss is not None
            for group in (self.plain, *self.others)
            for record in group.records
            if record.training is not None
            for point in record.training.curve
        )

    @property
    def remedies(self) -> list[Group]:
        """The groups with a remedy against overfitting; empty if the fit was not measured."""
        if not self.measures_fit:
            return []
        return [group for group in self.others if REMEDIES & set(differences(self.plain, group))]

    @property
    def swept(self) -> dict[tuple[str, ...], list[Group]]:
        """The groups that are no remedies, by the fields in which they differ from the plain training."""
        remedies, sweeps = self.remedies, dict[tuple[str, ...], list[Group]]()
        for group in self.others:
            if not any(group is remedy for remedy in remedies):
                sweeps.setdefault(tuple(differences(self.plain, group)), []).append(group)
        return sweeps


def families(groups: Sequence[Group]) -> list[Family]:
    """Return the models that were trained in several ways, in the order of `groups`, which is that of the plan."""
    members: dict[tuple[object, ...], list[Group]] = {}
    for group in groups:
        if group.trains:
            members.setdefault((group.task, group.length, *_model(group.seeds[0].case)), []).append(group)
    found = []
    for own in members.values():
        if len(own) > 1:
            protocol = own[0].seeds[0].case.protocol
            plain = min(
                own, key=lambda group: (group.seeds[0].case.protocol != protocol, _dropout(group.seeds[0].case) != "0")
            )
            found.append(Family(plain=plain, others=tuple(group for group in own if group is not plain)))
    return found


def overfitting_families(groups: Sequence[Group]) -> list[Family]:
    """Return the family with the most remedies in each setting that has any."""
    found = [family for family in families(groups) if family.remedies]
    return [
        max(own, key=lambda family: len(family.remedies))
        for setting in settings_of(groups)
        if (own := [family for family in found if (family.plain.task, family.plain.length) == setting])
    ]


def alternative_trainings(groups: Sequence[Group]) -> list[Group]:
    """Return the groups that the figures of overfitting show beside the plain training, for example with dropout.

    Other figures that compare architectures leave these groups out. A sweep of the protocol is not among them.
    """
    return [group for family in overfitting_families(groups) for group in family.remedies]


def differences(plain: Group, other: Group) -> Mapping[str, Value]:
    """Return the fields in which the training of a group differs from the plain training, with its values.

    Fields that usually change with another one are left out if that one changes, such as epochs with the number of
    training sequences.
    """
    base, changed = plain.seeds[0].case, other.seeds[0].case
    values = {DROPOUT: _value(_dropout(changed))} if _dropout(base) != _dropout(changed) else {}
    for field in type(base.protocol).model_fields:
        if getattr(base.protocol, field) != getattr(changed.protocol, field):
            values[field] = _value(getattr(changed.protocol, field))
    for field, accompanying in ACCOMPANYING:
        if field in values:
            values = {name: value for name, value in values.items() if name not in accompanying}
    return values


def value_of(group: Group, field: str) -> Value:
    """Return the value of a field of the protocol of a group, or its dropout."""
    case = group.seeds[0].case
    return _value(_dropout(case) if field == DROPOUT else getattr(case.protocol, field))


def _value(value: object) -> Value:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    text = value_text(value)
    try:
        return float(text)
    except ValueError:
        return text


def _model(case: Case) -> tuple[object, ...]:
    """Return what all trainings of a model share: its name, its options without dropout, and its size."""
    spec = Spec.parse_stored(case.arch)
    options = [option for option in spec.option_texts if not option.startswith(f"{DROPOUT}=")]
    return spec.name, *options, case.depth, case.budget


def _dropout(case: Case) -> str:
    return Spec.parse_stored(case.arch).options.get(DROPOUT, "0")
