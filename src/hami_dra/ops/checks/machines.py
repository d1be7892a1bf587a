"""Checks of each node as a machine: kernel, cgroups, SELinux, AppArmor, disk, container runtime."""

from __future__ import annotations

import re

from hami_dra.ops.checks.base import (
    SITE,
    Check,
    Verdict,
    bad,
    command,
    doubtful,
    fine,
    node_count,
    some,
    told,
)
from hami_dra.ops.facts import Facts, node_info
from hami_dra.ops.host_facts import cdi_by_version
from hami_dra.ops.node_facts import NodeFacts

LEAST_KERNEL = (4, 19)
LEAST_FREE_MIB = 512


def _runtime_cdi(facts: Facts) -> Verdict:
    """A node that looked for itself knows; of the others the version tells what is on by default."""
    off, unsure, on = [], [], 0
    versions = {node["metadata"]["name"]: node_info(node, "containerRuntimeVersion") for node in facts.nodes}
    for name in sorted({*facts.gpu_nodes, *facts.on_nodes}):
        seen = facts.on_nodes.get(name)
        runtime = versions.get(name) or (seen.runtime if seen else "")
        state = seen.cdi if seen and seen.cdi is not None else cdi_by_version(runtime)
        if state is None:
            unsure.append(f"{name} ({runtime or 'unknown runtime'})")
        elif not state:
            off.append(f"{name} ({runtime})")
        else:
            on += 1
    if off:
        return bad(f"off in {some(off)}", "run playbooks/site.yml --tags runtime, or set enable_cdi = true")
    if unsure:
        return doubtful(
            f"off by default in {some(unsure)}, and not to be seen from here",
            f"run `hami doctor` on {unsure[0].split(' ')[0]}; site.yml --tags runtime switches it on",
        )
    return fine(f"on in {node_count(on)}")


def _kernel(facts: Facts) -> Verdict:
    def say(seen: NodeFacts) -> str:
        numbers = re.match(r"(\d+)\.(\d+)", seen.kernel)
        old = numbers and (int(numbers[1]), int(numbers[2])) < LEAST_KERNEL
        return seen.kernel if old else ""

    old = told(facts, say)
    return (
        bad(some(old), "upgrade the node's kernel")
        if old
        else fine(f"new enough, on {node_count(len(facts.on_nodes))}")
    )


def _cgroup(facts: Facts) -> Verdict:
    old = told(facts, lambda seen: "" if seen.cgroup2 else "cgroup v1")
    if old:
        return doubtful(some(old), "boot with systemd.unified_cgroup_hierarchy=1")
    return fine(f"v2, on {node_count(len(facts.on_nodes))}")


def _selinux(facts: Facts) -> Verdict:
    wrong = told(facts, lambda seen: "/var/lib/hami is not container_file_t" if seen.mislabelled else "")
    if wrong:
        remedy = "semanage fcontext -a -t container_file_t '/var/lib/hami(/.*)?'; restorecon -R /var/lib/hami"
        return doubtful(some(wrong), remedy)
    return fine("does not stand in the way")


def _noexec(facts: Facts) -> Verdict:
    wrong = told(facts, lambda seen: f"{seen.unmappable} is noexec" if seen.unmappable else "")
    if wrong:
        return doubtful(some(wrong), "set hami-dra.drivers.nvidia.limiterDirectory to a folder that is not")
    return fine("can be mapped in every Pod")


def _apparmor(facts: Facts) -> Verdict:
    wrong = told(facts, lambda seen: "no apparmor_parser" if seen.profiles is False else "")
    if wrong:
        return doubtful(some(wrong), "install the package apparmor")
    looked = sum(seen.profiles is not None for seen in facts.on_nodes.values())
    return fine(
        f"not in the way, on {node_count(looked)}" if looked else "to be seen on the node itself alone"
    )


def _disk(facts: Facts) -> Verdict:
    def say(seen: NodeFacts) -> str:
        full = seen.free_mib is not None and seen.free_mib < LEAST_FREE_MIB
        return f"{seen.free_mib} MiB" if full else ""

    full = told(facts, say)
    if full:
        return bad(some(full), "make room in /var/lib on that node")
    return fine(f"enough, on {node_count(len(facts.on_nodes))}")


CHECKS = (
    Check(
        id="kernel-version",
        title="A node's kernel is too old",
        expected="4.19 or newer",
        why="containerd, cgroup v2 and the locks that the ledger counts on want a kernel of 4.19 at least.",
        mend=("Upgrade the node's kernel, or take the plugin's label (gpu=on) off the node.",),
        needs=(),
        look=_kernel,
    ),
    Check(
        id="cgroup-version",
        title="A node runs cgroup v1",
        expected="cgroup v2",
        why="kubelet refuses cgroup v1 from Kubernetes 1.35 on, unless it is told not to.",
        mend=("Boot the node with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line.",),
        needs=(),
        look=_cgroup,
    ),
    Check(
        id="selinux",
        title="SELinux keeps containers from their limits",
        expected="the label container_file_t on /var/lib/hami where SELinux enforces",
        why="Confined containers cannot read their limits, so the limiter refuses every allocation.",
        mend=(
            "The plugin labels the folder when it starts, if `daemonSet.privileged` is true. Who labels the "
            "whole node anew takes that away; to have it kept, on the node:",
            command(
                "semanage fcontext -a -t container_file_t '/var/lib/hami(/.*)?'\nrestorecon -R /var/lib/hami"
            ),
        ),
        needs=(),
        look=_selinux,
    ),
    Check(
        id="noexec",
        title="The limiter is on a file system mounted noexec",
        expected="a folder that programs may be mapped from",
        why="Some node images mount /var noexec. The container runtime lifts that for the limiter, but not "
        "for a Pod in a user namespace (`hostUsers: false`). With runc it does not start; with crun "
        "it starts **without its limits**.",
        mend=(
            "Put the limiter into another folder of the nodes, on GKE for example:",
            command(
                "helm -n hami-system upgrade hami charts/hami --reuse-values \\\n"
                "  --set hami-dra.drivers.nvidia.limiterDirectory=/home/kubernetes/bin/hami"
            ),
        ),
        needs=(),
        look=_noexec,
    ),
    Check(
        id="apparmor",
        title="A node cannot load AppArmor profiles",
        expected="the program apparmor_parser where AppArmor is on",
        why="The container runtime loads its profile for containers with that program, which some images of "
        "nodes lack. Pods that ask for the profile then do not start.",
        mend=("On the node:", command("apt-get install apparmor")),
        needs=(),
        look=_apparmor,
    ),
    Check(
        id="free-disk",
        title="A node's disk is full",
        expected="512 MiB free for /var/lib/hami",
        why="The checkpoint and the ledgers are written before a container starts; without room Pods do "
        "not start.",
        mend=("On the node:", command("df -h /var/lib/hami")),
        needs=(),
        look=_disk,
    ),
    Check(
        id="runtime-cdi",
        title="The container runtime ignores CDI devices",
        expected="CDI on in the container runtime of each GPU node",
        why="The plugin describes a share to the runtime through the Container Device Interface. "
        "containerd before 2.0 has it off by default: containers start without their card, and without an "
        "error.",
        mend=(
            command(f"{SITE} --tags runtime"),
            "By hand, in `/etc/containerd/config.toml` of containerd 1.7, then restart it:",
            '```toml\n[plugins."io.containerd.grpc.v1.cri"]\n  enable_cdi = true\n```',
            "If `cdi_spec_dirs` is set there, it must have `/var/run/cdi`, where the plugin writes.",
        ),
        needs=(),
        look=_runtime_cdi,
    ),
)
