"""What a node must have before anything changes there, as findings with the ids of `hami doctor`.

    facts | node_findings(driver)   facts: `key=value` lines as roles/preflight/files/look prints them

A finding is `{"id", "severity": "error" | "warning", "text"}`; the text says what was found, what is expected
and the remedy, in one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LEAST_KERNEL = (4, 19)
LEAST_DRIVER = 440
LEAST_FREE_KIB = {"/etc": 16 * 1024, "/var/lib": 512 * 1024}

Finding = dict[str, str]


def node_findings(text: str, driver: str = "operator") -> list[Finding]:
    """The findings of one node; `driver` is where NVIDIA's comes from (operator, host, simulated, none)."""
    facts = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    found = [
        _kernel(facts.get("kernel", "")),
        _driver(facts.get("driver", ""), driver),
        _cgroup(facts.get("cgroup", "")),
        _selinux(facts.get("selinux", ""), facts.get("selinux label", "")),
        _apparmor(facts.get("apparmor", ""), facts.get("apparmor parser", "")),
        *(_disk(place, facts.get(f"free {place}", "")) for place in LEAST_FREE_KIB),
    ]
    return [finding for finding in found if finding]


def _finding(identity: str, severity: str, text: str) -> Finding:
    return {"id": identity, "severity": severity, "text": text}


def _kernel(release: str) -> Finding:
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers and (int(numbers[1]), int(numbers[2])) >= LEAST_KERNEL:
        return {}
    expected = ".".join(str(number) for number in LEAST_KERNEL)
    return _finding(
        "kernel-version", "error", f"kernel {release or 'unknown'}, expected {expected} or newer; upgrade it"
    )


def _driver(version: str, source: str) -> Finding:
    """The driver's version, where one is loaded already; GPU Operator may still bring it."""
    if source == "none":
        return {}
    numbers = re.search(r"\b(\d{3,})\.\d+", version)
    if version and source == "simulated":
        text = "hami_driver is simulated, but /proc/driver/nvidia shows a real NVIDIA driver"
        remedy = "remove hami_simulated_gpus from this host in the inventory"
        return _finding("driver-version", "error", f"{text}; {remedy}")
    if numbers is None:
        if source != "host":
            return {}
        remedy = "install it on the node, or set hami_driver=operator"
        return _finding(
            "driver-version", "error", f"hami_driver is host, but no NVIDIA driver is loaded; {remedy}"
        )
    if int(numbers[1]) >= LEAST_DRIVER:
        return {}
    remedy = "upgrade the NVIDIA driver on the node"
    return _finding(
        "driver-version", "error", f"driver {numbers[0]}, expected {LEAST_DRIVER} or newer; {remedy}"
    )


def _cgroup(filesystem: str) -> Finding:
    if filesystem in ("cgroup2fs", ""):
        return {}
    text = "cgroup v1, expected v2: kubelet refuses v1 from Kubernetes 1.35 on unless failCgroupV1 is false"
    return _finding("cgroup-version", "warning", f"{text}; boot with systemd.unified_cgroup_hierarchy=1")


def _selinux(enforce: str, label: str) -> Finding:
    """`label` is that of /var/lib/hami. The plugin sets it; who labels the whole node anew takes it away."""
    if enforce != "1" or not label or "container_file_t" in label:
        return {}
    text = "SELinux enforces, and confined containers cannot read /var/lib/hami as it is labelled"
    remedy = "semanage fcontext -a -t container_file_t '/var/lib/hami(/.*)?'; restorecon -R /var/lib/hami"
    return _finding("selinux", "warning", f"{text}; {remedy}")


def _apparmor(enabled: str, parser: str) -> Finding:
    """Runtimes load their profile for containers with a program that some images of nodes lack."""
    if enabled != "Y" or parser:
        return {}
    text = "AppArmor is on, but no apparmor_parser loads the runtime's profile; Pods that ask for it fail"
    return _finding("apparmor", "warning", f"{text}; install the package apparmor")


def _disk(place: str, kib: str) -> Finding:
    least = LEAST_FREE_KIB[place]
    if not kib.isdigit() or int(kib) >= least:
        return {}
    text = f"{int(kib) // 1024} MiB free in {place}, expected {least // 1024} MiB; make room"
    return _finding("free-disk", "error", text)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., list[Finding]]]:
        """The filters of this file by name."""
        return {"node_findings": node_findings}
