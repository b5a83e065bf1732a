"""What the system's own files say of the machine. Each answer is None, or empty, where a system keeps no such file."""

from __future__ import annotations

import hashlib
import os
import platform
import uuid
from functools import cache
from pathlib import Path

ROOT = Path("/")
MACHINE_IDS = ("etc/machine-id", "var/lib/dbus/machine-id")
SALT, ROUNDS = b"carousel: which machine", 100_000
"""An address of a network card could be guessed from its plain digest; so many rounds make each guess dear."""
CPU = "sys/devices/system/cpu"
CONTAINER_FILES = (".dockerenv", "run/.containerenv")
CONTAINER_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc", "garden")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def cpu_name(root: Path = ROOT) -> str:
    """The processor's model."""
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


@cache
def host_digest(root: Path = ROOT) -> str | None:
    """Twelve digits that tell this machine from others and name none: of its machine-id, else of its network card."""
    known = next((text for name in MACHINE_IDS if (text := _read(root / name).strip())), None)
    if known is None:
        card = uuid.getnode()
        if card >> 40 & 1:  # made up for want of a card, and another one next time
            return None
        known = f"{card:012x}"
    return hashlib.pbkdf2_hmac("sha256", known.encode(), SALT, ROUNDS).hex()[:12]


def caches(root: Path = ROOT) -> dict[str, int]:
    """Bytes of each level that the first core sees: `L1d`, `L1i`, `L2`, `L3`."""
    found = {}
    for index in sorted((root / CPU / "cpu0/cache").glob("index*")):
        level, kind, size = (_read(index / name).strip() for name in ("level", "type", "size"))
        number, unit = size.rstrip("".join(UNITS)), size[-1:]
        if level.isdigit() and number.isdigit():
            suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
            found[f"L{level}{suffix}"] = int(number) * UNITS.get(unit, 1)
    return found


def governor(root: Path = ROOT) -> str | None:
    """What decides the first core's clock rate, such as `performance` or `powersave`."""
    return _read(root / CPU / "cpu0/cpufreq/scaling_governor").strip() or None


def clock_source(root: Path = ROOT) -> str | None:
    """What the system reads the time from, such as `tsc`."""
    return _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource").strip() or None


def quota_cores(root: Path = ROOT) -> float | None:
    """How many cores' time a container's quota allows; None where it sets no limit."""
    allowed, _, period = _read(root / "sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not (allowed.isdigit() and period.isdigit()):
        allowed = _read(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = _read(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    return int(allowed) / int(period) if allowed.isdigit() and period.isdigit() and int(period) else None


def quota_stops(root: Path = ROOT) -> int | None:
    """In how many periods so far a container's quota has stopped its processes."""
    for stat in ("sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu/cpu.stat"):
        for line in _read(root / stat).splitlines():
            name, _, count = line.partition(" ")
            if name == "nr_throttled" and count.isdigit():
                return int(count)
    return None


def heat_events(root: Path = ROOT) -> int | None:
    """How often so far heat has lowered the clock rate of a core or of the whole processor, as each core tells it."""
    told = [_read(path).strip() for path in (root / CPU).glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    counts = [int(count) for count in told if count.isdigit()]
    return sum(counts) if counts else None


def virtual(root: Path = ROOT) -> str | None:
    """`container`, `virtual machine`, `container in a virtual machine`, or `none`; None where it cannot be told."""
    info = _read(root / "proc/cpuinfo")
    if not info:
        return None
    groups = _read(root / "proc/1/cgroup")
    contained = (
        any((root / name).exists() for name in CONTAINER_FILES)
        or any(word in groups for word in CONTAINER_WORDS)
        or (root == ROOT and bool(os.environ.get("container")))  # noqa: SIM112  (as systemd and podman write it)
    )
    guest = any(line.startswith("flags") and "hypervisor" in line.split() for line in info.splitlines())
    named = {
        (True, True): "container in a virtual machine",
        (True, False): "container",
        (False, True): "virtual machine",
        (False, False): "none",
    }
    return named[contained, guest]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
