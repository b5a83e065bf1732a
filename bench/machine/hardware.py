"""Facts about the machine from system files, such as those in /proc and /sys.

Most facts are None or empty if the system does not report them. `root` is the folder of the system files; only tests
change it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path("/")
MACHINE_IDS = ("etc/machine-id", "var/lib/dbus/machine-id")
MACHINE_ID = re.compile(r"(?!0+$)[0-9a-f]{32}")
"""Pattern of a genuine machine-id: 32 hexadecimal digits that are not all zero, unlike the text `uninitialized`."""
MULTICAST, LOCALLY_ADMINISTERED = 1 << 40, 1 << 41
"""Bits of a network address. Python sets the first in an address that it made up. The second marks an address that
software assigned, such as 02:42:ac:11:00:02 of the first container of every Docker."""
VIRTUAL_CARDS = frozenset((0x000569, 0x000C29, 0x001C14, 0x005056, 0x080027, 0x00155D, 0x00163E, 0x001C42, 0x000000))
"""First halves of the addresses that VMware, VirtualBox, Hyper-V, Xen and Parallels assign, and of no maker at all."""
SALT, ROUNDS = b"carousel: which machine", 100_000
"""Parameters of the host digest. Many rounds of hashing make it expensive to guess a network address from a digest."""
CPU = "sys/devices/system/cpu"
CONTAINER_FILES = (".dockerenv", "run/.containerenv", "run/systemd/container")
CONTAINER_ROOTS = ("overlay", "aufs", "fuse.fuse-overlayfs")
"""Types of file systems that containers have as their root."""
CONTAINER_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc", "garden")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def cpu_name(root: Path = ROOT) -> str:
    """Return the processor's model name, its architecture if the name is unknown, or `unknown`."""
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


@cache
def host_digest(root: Path = ROOT) -> str | None:
    """Return twelve hexadecimal digits that identify this machine without naming it.

    The digest is computed from the machine-id or, if there is none, from the address that the maker of the network card
    assigned. Returns None if the machine has neither. A machine-id inside a container does not count, because all
    containers of an image share it. It counts if it is mounted from outside.
    """
    mounts = _mounts(root)
    is_container = _is_container(root) or mounts.get("/") in CONTAINER_ROOTS
    ids = [_read(root / name).strip() for name in MACHINE_IDS if not is_container or f"/{name}" in mounts]
    identity = next(filter(MACHINE_ID.fullmatch, ids), None)
    if identity is None:
        address = uuid.getnode()
        if address in (0, (1 << 48) - 1) or address & (MULTICAST | LOCALLY_ADMINISTERED):
            return None
        if address >> 24 in VIRTUAL_CARDS:
            return None
        identity = f"{address:012x}"
    return hashlib.pbkdf2_hmac("sha256", identity.encode(), SALT, ROUNDS).hex()[:12]


def caches(root: Path = ROOT) -> dict[str, int]:
    """Return the size in bytes of each cache of the first core, by level: `L1d`, `L1i`, `L2`, `L3`."""
    sizes = {}
    for index in sorted((root / CPU / "cpu0/cache").glob("index*")):
        level, kind, size = (_read(index / name).strip() for name in ("level", "type", "size"))
        number, unit = size.rstrip("".join(UNITS)), size[-1:]
        if level.isdigit() and number.isdigit():
            suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
            sizes[f"L{level}{suffix}"] = int(number) * UNITS.get(unit, 1)
    return sizes


def governor(root: Path = ROOT) -> str | None:
    """Return the frequency governor of the first core, such as `performance`; None if unknown."""
    return _read(root / CPU / "cpu0/cpufreq/scaling_governor").strip() or None


def clock_source(root: Path = ROOT) -> str | None:
    """Return the name of the clock from which the kernel reads the time, such as `tsc`; None if unknown."""
    return _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource").strip() or None


def quota_cores(root: Path = ROOT) -> float | None:
    """Return the number of cores that the quotas of this process's control groups allow; None if no limit is known.

    Every group limits the groups below it, so the smallest quota counts. In a container, the path of a group may be
    that of the host. Then only the container's own group is found.
    """
    limits = [limit for folder in _cpu_groups(root) if (limit := _quota_of(folder)) is not None]
    return min(limits, default=None)


def _cpu_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups that may limit its processor time, for both versions."""
    mounted = root / "sys/fs/cgroup"
    yield from (mounted, mounted / "cpu", mounted / "cpu,cpuacct")
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            places = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            places = [mounted / "cpu", mounted / controllers]
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for place in places:
            yield from (place.joinpath(*parts[:count]) for count in range(1, len(parts) + 1))


def _quota_of(folder: Path) -> float | None:
    """Return the number of cores that one control group allows; None if it has no limit."""
    allowed, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not (allowed.isdigit() and period.isdigit()):  # no version 2 of control groups: try version 1
        allowed = _read(folder / "cpu.cfs_quota_us").strip()
        period = _read(folder / "cpu.cfs_period_us").strip()
    return int(allowed) / int(period) if allowed.isdigit() and period.isdigit() and int(period) else None


def quota_stops(root: Path = ROOT) -> int | None:
    """Return the number of scheduling periods in which the quota has paused the container; None if unknown."""
    for stat in ("sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu/cpu.stat"):
        for line in _read(root / stat).splitlines():
            name, _, count = line.partition(" ")
            if name == "nr_throttled" and count.isdigit():
                return int(count)
    return None


def heat_events(root: Path = ROOT) -> int | None:
    """Return the number of thermal throttling events, summed over the counters of all cores; None if unknown."""
    texts = [_read(path).strip() for path in (root / CPU).glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    counts = [int(count) for count in texts if count.isdigit()]
    return sum(counts) if counts else None


def virtual(root: Path = ROOT) -> str | None:
    """Return how this machine is virtualised; None if unknown.

    The possible values are `container`, `virtual machine`, `container in a virtual machine` and `none`.
    """
    info = _read(root / "proc/cpuinfo")
    if not info:
        return None
    in_virtual_machine = any(line.startswith("flags") and "hypervisor" in line.split() for line in info.splitlines())
    labels = {
        (True, True): "container in a virtual machine",
        (True, False): "container",
        (False, True): "virtual machine",
        (False, False): "none",
    }
    return labels[_is_container(root), in_virtual_machine]


def _is_container(root: Path) -> bool:
    groups = _read(root / "proc/1/cgroup")
    return (
        any((root / name).exists() for name in CONTAINER_FILES)
        or any(word in groups for word in CONTAINER_WORDS)
        or (root == ROOT and bool(os.environ.get("container")))  # noqa: SIM112  (systemd and podman write it in lower case)
    )


def _mounts(root: Path) -> dict[str, str]:
    """Return the type of the file system at each mount point, such as `{"/": "overlay"}`; empty if unknown."""
    mounts: dict[str, str] = {}
    for line in _read(root / "proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        if len(parts := fields.split()) > 4 and rest:
            mounts[parts[4]] = rest.split()[0]
    return mounts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
