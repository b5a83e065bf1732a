"""The memory that a device needs to stream a model: bytes of weights, packed weights, state and workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.analysis.groups import Group, archs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """The memory that one stream of an architecture needs. Each field in bytes is the median over cases."""

    arch: str
    position: int | None
    """The last streamed position, at which the state was measured; None if no position is known."""
    weight_bytes: float
    state_bytes: float | None
    workspace_bytes: float | None
    """The workspace of the compiled step; None if the architecture has no compiled step."""
    packed_weight_bytes: float | None
    """The packed weights of the compiled step and their copy; None if unknown."""

    @property
    def total_bytes(self) -> float | None:
        """The sum of all parts; None if a part is unknown, as the workspace of an interpreted step always is."""
        parts = (self.weight_bytes, self.packed_weight_bytes, self.state_bytes, self.workspace_bytes)
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


def device_memory(groups: Sequence[Group]) -> list[DeviceMemory]:
    """Return one row per architecture with a known size of its weights, in the order of `groups`."""
    rows = []
    for arch in archs_of(groups):
        own_groups = [group for group in groups if group.arch == arch]
        _, weights = _last_size(own_groups, "weight_bytes")
        if weights is None:
            continue
        position, state = _last_size(own_groups, "state_bytes")
        _, workspace = _last_size(own_groups, "workspace_bytes")
        _, packed = _last_size(own_groups, "packed_weight_bytes")
        rows.append(
            DeviceMemory(
                arch=arch,
                position=position,
                weight_bytes=weights,
                state_bytes=state,
                workspace_bytes=workspace,
                packed_weight_bytes=packed,
            )
        )
    return rows


def _last_size(groups: Sequence[Group], metric: str) -> tuple[int | None, float | None]:
    """Return the last position at which a size was measured, and the median of the size there.

    A size without a position is returned with the position None. Both are None if the size was not measured.
    """
    sizes: dict[int, list[float]] = {}
    for group in groups:
        for record in group.records:
            for measurement in record.of(metric):
                if measurement.samples:
                    sizes.setdefault(measurement.at.get("position", -1), []).extend(measurement.samples)
    if not sizes:
        return None, None
    last = max(sizes)
    return (last if last >= 0 else None), median(sizes[last])
