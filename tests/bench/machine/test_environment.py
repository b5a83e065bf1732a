"""Tests of the fingerprint with synthetic system files. The fingerprint must name no person, host or path."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from arch import kernels
from bench.machine import environment as machine_environment
from bench.machine import hardware, provenance
from bench.machine.environment import blas, default_workers, environment, gpu_name, onednn
from bench.machine.provenance import Checkout, checkout
from results import Environment

MACHINE_ID = "0123456789abcdef0123456789abcdef"
BUILD = """PyTorch built with:
  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605 for Intel(R) 64
  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80afa71)
  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release, LAPACK_INFO=mkl,
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with the system files of a virtual machine: two levels of cache, and no container."""
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: A Processor @ 3 GHz\nflags\t\t: fpu avx hypervisor\n",
        "proc/1/cgroup": "0::/init.scope\n",
        "etc/machine-id": f"{MACHINE_ID}\n",
        "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index0/type": "Data\n",
        "sys/devices/system/cpu/cpu0/cache/index0/size": "48K\n",
        "sys/devices/system/cpu/cpu0/cache/index1/level": "1\n",
        "sys/devices/system/cpu/cpu0/cache/index1/type": "Instruction\n",
        "sys/devices/system/cpu/cpu0/cache/index1/size": "32K\n",
        "sys/devices/system/cpu/cpu0/cache/index3/level": "3\n",
        "sys/devices/system/cpu/cpu0/cache/index3/type": "Unified\n",
        "sys/devices/system/cpu/cpu0/cache/index3/size": "2M\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/cpu.stat": "usage_usec 9\nnr_periods 100\nnr_throttled 7\nthrottled_usec 50\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "30\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "400\n",
        "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_total_time_ms": "9\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path


def test_hardware_is_read_from_system_files(root: Path) -> None:
    assert hardware.cpu_name(root) == "A Processor @ 3 GHz"
    assert hardware.caches(root) == {"L1d": 48 << 10, "L1i": 32 << 10, "L3": 2 << 20}
    assert hardware.governor(root) == "powersave"
    assert hardware.clock_source(root) == "tsc"
    assert hardware.quota_cores(root) == 1.5
    assert hardware.virtual(root) == "virtual machine"
    assert hardware.heat_events(root) == 432
    assert hardware.quota_stops(root) == 7


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({".dockerenv": ""}, "container in a virtual machine"),
        ({"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"}, "container in a virtual machine"),
        ({"proc/cpuinfo": "flags : fpu avx\n"}, "none"),
        ({"proc/cpuinfo": "flags : fpu avx\n", "run/.containerenv": ""}, "container"),
        ({"proc/cpuinfo": ""}, None),
    ],
)
def test_containers_and_virtual_machines_are_found(root: Path, changes: dict[str, str], expected: str | None) -> None:
    for name, content in changes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    assert hardware.virtual(root) == expected


def test_facts_are_none_without_system_files(tmp_path: Path) -> None:
    assert hardware.cpu_name(tmp_path) == (platform.processor() or platform.machine())
    assert hardware.caches(tmp_path) == {}
    for fact in (
        hardware.governor,
        hardware.clock_source,
        hardware.quota_cores,
        hardware.virtual,
        hardware.heat_events,
        hardware.quota_stops,
    ):
        assert fact(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000\n", None), ("50000 100000\n", 0.5), ("x\n", None), ("", None)]
)
def test_container_quota_is_read_in_cores(root: Path, quota: str, cores: float | None) -> None:
    (root / "sys/fs/cgroup/cpu.max").write_text(quota, encoding="utf-8")
    assert hardware.quota_cores(root) == cores


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/a.slice/b\n", "sys/fs/cgroup/a.slice/cpu.max": "100000 100000\n"}, 1.0),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/../other\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "3:cpuset:/c\n2:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            1.0,
        ),
        (
            {
                "proc/self/cgroup": "2:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "20000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            0.2,
        ),
    ],
)
def test_the_smallest_quota_of_all_control_groups_counts(root: Path, files: dict[str, str], cores: float) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    assert hardware.quota_cores(root) == cores


@pytest.mark.parametrize(("quota", "workers"), [(None, 4), (1.0, 1), (0.5, 1), (2.9, 2), (16.0, 4)])
def test_a_run_starts_as_many_workers_as_the_quota_allows(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, workers: int
) -> None:
    monkeypatch.setattr(machine_environment, "quota_cores", lambda: quota)
    monkeypatch.setattr(machine_environment, "available_cores", lambda: 4)
    assert default_workers() == workers


def test_host_digest_identifies_machine_without_naming_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hardware.host_digest(root)
    assert first == hardware.host_digest.__wrapped__(root)
    assert first is not None and len(first) == 12 and first not in MACHINE_ID
    (root / "etc/machine-id").write_text("f" * 32, encoding="utf-8")
    other = hardware.host_digest.__wrapped__(root)
    assert other != first
    (root / "etc/machine-id").write_text("\n", encoding="utf-8")  # as in a container image
    monkeypatch.setattr("uuid.getnode", lambda: 0x001122334455)
    assert hardware.host_digest.__wrapped__(root) not in (None, first, other)
    monkeypatch.setattr("uuid.getnode", lambda: 0x011122334455)  # this bit marks an address that Python made up
    assert hardware.host_digest.__wrapped__(root) is None


CONTAINER_MOUNTS = "30 25 0:26 / / rw,relatime - overlay overlay rw\n31 30 0:27 / /proc rw - proc proc rw\n"
MOUNTED_ID = f"{CONTAINER_MOUNTS}40 30 8:1 /etc/machine-id /etc/machine-id ro - ext4 /dev/sda1 rw\n"
DEFAULT_OF_DOCKER, OF_A_MAKER = 0x0242AC110002, 0x001122334455


@pytest.mark.parametrize(
    ("address", "is_identity"),
    [
        (OF_A_MAKER, True),
        (DEFAULT_OF_DOCKER, False),
        (0x525400123456, False),  # QEMU's default
        (0x080027000001, False),  # VirtualBox
        (0x00155D000000, False),  # Hyper-V
        (0x000000000001, False),
        (0, False),
        (0xFFFFFFFFFFFF, False),
        (0x011122334455, False),  # made up by Python
    ],
)
def test_a_network_address_is_an_identity_only_if_the_maker_of_the_card_assigned_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, address: int, is_identity: bool
) -> None:
    (root / "etc/machine-id").unlink()
    monkeypatch.setattr("uuid.getnode", lambda: address)
    assert (hardware.host_digest.__wrapped__(root) is not None) == is_identity


@pytest.mark.parametrize("text", ["", "uninitialized\n", f"{'0' * 32}\n", "0123\n", "x" * 32])
def test_a_machine_id_without_meaning_is_no_identity(root: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("uuid.getnode", lambda: DEFAULT_OF_DOCKER)
    assert hardware.host_digest.__wrapped__(root) is not None
    (root / "etc/machine-id").write_text(text, encoding="utf-8")
    assert hardware.host_digest.__wrapped__(root) is None


@pytest.mark.parametrize(
    "files",
    [
        {".dockerenv": ""},
        {"run/.containerenv": ""},
        {"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"},
        {"proc/1/cgroup": "0::/\n", "proc/self/mountinfo": CONTAINER_MOUNTS},
        {"proc/self/mountinfo": "30 25 0:26 / / rw - fuse.fuse-overlayfs fuse-overlayfs rw\n"},
        {"run/systemd/container": "lxc\n"},
    ],
)
def test_a_machine_id_of_a_container_counts_only_if_it_is_mounted(
    root: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    monkeypatch.setattr("uuid.getnode", lambda: DEFAULT_OF_DOCKER)
    outside = hardware.host_digest.__wrapped__(root)
    (root / "var/lib/dbus").mkdir(parents=True)
    (root / "var/lib/dbus/machine-id").write_text("e" * 32, encoding="utf-8")
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    assert hardware.host_digest.__wrapped__(root) is None
    (root / "proc/self").mkdir(exist_ok=True)
    (root / "proc/self/mountinfo").write_text(MOUNTED_ID, encoding="utf-8")
    assert hardware.host_digest.__wrapped__(root) == outside


def test_libraries_are_read_from_torch_build_description() -> None:
    assert (blas(BUILD), onednn(BUILD)) == ("mkl 2024.2", "3.12.0")
    assert (blas("BLAS_INFO=accelerate, X=1"), onednn("")) == ("accelerate", None)
    assert blas("nothing") is None


def test_fingerprint_of_this_machine_names_no_person_host_or_path() -> None:
    fingerprint = environment("cpu", threads=3)
    assert Environment.model_validate_json(fingerprint.model_dump_json()) == fingerprint
    assert (fingerprint.device, fingerprint.threads) == ("cpu", 3)
    assert fingerprint.torch == torch.__version__.partition("+")[0] or fingerprint.torch == torch.__version__
    assert fingerprint.instructions == torch.backends.cpu.get_cpu_capability()
    # `virtual` is one of four fixed phrases, and a folder may be called "machine".
    text = fingerprint.model_dump_json(exclude={"virtual"})
    for secret in (getpass.getuser(), platform.node(), str(Path.home()), str(Path.cwd()), Path.cwd().name):
        # Short names, such as the user `root` or the folder `/`, occur in unrelated text.
        assert len(secret) < 5 or secret not in text


def test_fingerprint_has_what_selects_the_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_OPT", "1")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/home/somebody/cache")
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "AVX2")
    monkeypatch.setenv("PYTHONMALLOC", "debug")
    fingerprint = environment("cpu")
    assert fingerprint.settings["NUMBA_OPT"] == "1"
    assert fingerprint.settings["NPY_DISABLE_CPU_FEATURES"] == "AVX2"
    assert fingerprint.settings["PYTHONMALLOC"] == "debug"
    assert "somebody" not in fingerprint.model_dump_json()
    assert fingerprint.kernels == kernels.target() != "none"
    assert {"numpy", "numba", "llvmlite"} <= set(fingerprint.packages)
    assert fingerprint.numpy_blas
    assert fingerprint.cuda is None
    monkeypatch.setattr(kernels.runtime.compiler, "obstacle", lambda: "no compiler")
    assert environment("cpu").kernels == "none"


def test_device_includes_gpu_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_name() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU 80GB")
    assert environment("cuda").device == "cuda (Some GPU 80GB)"
    assert environment("cpu").device == "cpu"


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "bench/machine").mkdir(parents=True)
    (tmp_path / "bench/machine/provenance.py").write_text("", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_checkout_gives_commit_and_whether_files_differ(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = checkout(repository)
    assert clean.commit is not None and len(clean.commit) == 40
    assert clean.modified is False
    (repository / "bench/machine/provenance.py").write_text("x = 1\n", encoding="utf-8")
    assert checkout(repository) == Checkout(commit=clean.commit, modified=True)
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a hook
    assert checkout(repository).commit == clean.commit


@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        ("bench/machine/new.py", True),
        ("bench/plans/new.toml", True),
        ("base/20260102-030405-quick-abc123/run.json", False),  # a store, as in examples/regression-guard
        ("carousel.xml", False),
        ("docs/new.md", False),
        ("bench/runs/20260102-030405-quick-abc123/records/a.json", False),
    ],
)
def test_only_the_measuring_code_makes_a_checkout_modified(repository: Path, name: str, is_code: bool) -> None:
    (repository / "README.md").write_text("", encoding="utf-8")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "second")
    (repository / "README.md").write_text("changed", encoding="utf-8")
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("", encoding="utf-8")
    assert checkout(repository).modified is is_code


def test_new_code_that_git_ignores_makes_a_checkout_modified(repository: Path) -> None:
    (repository / ".git/info/exclude").write_text("*.py\n")
    (repository / "arch").mkdir(exist_ok=True)
    (repository / "arch/new.py").write_text("x = 1\n")
    assert checkout(repository).modified is True


def test_removed_and_staged_code_is_modified_and_a_changed_mode_is_not(repository: Path) -> None:
    source = repository / "bench/machine/provenance.py"
    source.chmod(0o755)
    assert checkout(repository).modified is False
    source.write_text("x = 1\n", encoding="utf-8")
    git(repository, "add", ".")
    assert checkout(repository).modified is True
    git(repository, "reset", "--quiet", "--hard")
    (repository / "bench/other.py").write_text("", encoding="utf-8")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "second")
    (repository / "bench/other.py").unlink()
    assert checkout(repository).modified is True


def test_installed_copy_inside_another_repository_has_no_commit(repository: Path) -> None:
    installed = repository / "site-packages"
    (installed / "bench/machine").mkdir(parents=True)
    (installed / "bench/machine/provenance.py").write_text("", encoding="utf-8")
    assert checkout(installed) == Checkout()


def test_checkout_is_empty_without_a_repository(tmp_path: Path) -> None:
    assert checkout(tmp_path) == Checkout()


@pytest.mark.parametrize("packed", [False, True])
def test_the_commit_is_read_from_files_if_git_is_missing_or_hangs(
    repository: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    commit = checkout(repository).commit
    if packed:
        git(repository, "pack-refs", "--all")

    def hang(*_: Any, timeout: float, **__: Any) -> None:
        raise subprocess.TimeoutExpired("git", timeout)

    with monkeypatch.context() as patched:
        patched.setattr(provenance.subprocess, "run", hang)
        assert checkout(repository) == Checkout(commit=commit)
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert checkout(repository) == Checkout(commit=commit)
    git(repository, "checkout", "--quiet", "--detach")
    assert checkout(repository) == Checkout(commit=commit)
    (repository / ".git" / "HEAD").write_text("damaged", encoding="utf-8")
    assert checkout(repository) == Checkout()


def test_the_repository_of_another_owner_is_read(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let git believe that another user owns the repository: it then refuses all folders that are not declared safe."""
    expected = checkout(repository)
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "git"
    program.write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    refused = subprocess.run([program, "-C", repository, "status"], capture_output=True, text=True, check=False)
    assert "safe.directory" in refused.stderr
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    assert checkout(repository) == expected
    assert expected.commit is not None and expected.modified is False
