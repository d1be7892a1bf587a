"""Checks of each node's files and sockets, told by the plugin there or read on the node itself."""

from __future__ import annotations

from hami_dra.ops.checks import machines
from hami_dra.ops.checks.base import (
    Check,
    Verdict,
    bad,
    closed,
    command,
    doubtful,
    fine,
    logs,
    node_count,
    some,
    told,
    told_of_drivers,
)
from hami_dra.ops.facts import Facts
from hami_dra.ops.node_facts import DriverFacts

ROLES = {"service", "registration"}


def _open_nodes(facts: Facts) -> Verdict:
    if not facts.closed_nodes:
        return fine(node_count(len(facts.on_nodes)))
    remedy = f"needs the right pods/exec in {facts.namespace} and a running plugin; on the node: hami doctor"
    return Verdict("unknown", closed(facts.closed_nodes), remedy)


def _sockets(facts: Facts) -> Verdict:
    def say(seen: DriverFacts) -> str:
        missing = sorted(ROLES - set(seen.answering))
        silent = " and ".join(role for role in missing if role in seen.silent)
        if not missing:
            return ""
        return f"nobody answers on the {silent} socket" if silent else f"no {' and no '.join(missing)} socket"

    wrong = told_of_drivers(facts, say)
    if wrong:
        return bad(
            some(wrong),
            f"kubectl -n {facts.namespace} delete the plugin's Pod on {wrong[0].partition(':')[0]}",
        )
    return fine(f"answers kubelet, on {node_count(len(facts.on_nodes))}")


def _limiter(facts: Facts) -> Verdict:
    wrong = told(facts, lambda seen: seen.limiter_problem)
    if wrong:
        return bad(
            some(wrong),
            "restart the plugin on that node: it installs the limiter anew, and running Pods keep theirs",
        )
    return fine(f"installed whole, on {node_count(len(facts.on_nodes))}")


def _checkpoint(facts: Facts) -> Verdict:
    damaged = told_of_drivers(facts, lambda seen: seen.checkpoint_problem)
    if damaged:
        return bad(some(damaged), "restart the plugin on that node: it rebuilds the checkpoint from the API")
    kept = told_of_drivers(facts, lambda seen: ", ".join(seen.set_aside))
    if kept:
        return doubtful(
            f"rebuilt; the damaged one is kept: {some(kept)}",
            "look at the disk, then delete /var/lib/hami/checkpoint.json.damaged-*",
        )
    return fine(f"whole, on {node_count(len(facts.on_nodes))}")


def _shares(facts: Facts) -> Verdict:
    wrong = told_of_drivers(facts, lambda seen: some(seen.broken_shares))
    if wrong:
        return bad(
            some(wrong),
            "delete the Pod that uses it; the plugin writes the folder anew when the next one starts",
        )
    return fine(f"limits and ledger of every share can be used, on {node_count(len(facts.on_nodes))}")


def _orphans(facts: Facts) -> Verdict:
    left = told_of_drivers(facts, lambda seen: some(seen.orphans))
    if left:
        return doubtful(
            some(left), "the plugin sweeps at its start and every ten minutes; older ones: restart it there"
        )
    return fine(f"no folder without its claim, on {node_count(len(facts.on_nodes))}")


def _profiles(facts: Facts) -> Verdict:
    refused = told(facts, lambda seen: some(seen.refused, most=1))
    if refused:
        return bad(some(refused), "mend the profile (docs/profiles.md) and give it to the chart again")
    return fine("every profile is served")


OPEN_NODES = Check(
    id="open-nodes",
    title="A node could not be looked into",
    expected="every node's plugin can be asked",
    why="What the checks below find on a node is told by the plugin's Pod there (`hami node-facts`). "
    "Where it does not run, or you may not run programs in it, they say nothing of that node.",
    mend=(
        "On the node itself, as root, no kubeconfig is needed for these checks:",
        command("hami doctor --node-only"),
    ),
    needs=("pods",),
    look=_open_nodes,
)

FILES = (
    Check(
        id="plugin-sockets",
        title="kubelet cannot reach the plugin",
        expected="a service socket and a registration socket that answer",
        why="kubelet finds the plugin by its socket in `/var/lib/kubelet/plugins_registry` and calls it on "
        "the one in `/var/lib/kubelet/plugins`. Somebody removed one, or kubelet has another `--root-dir`.",
        mend=(
            "A new Pod of the plugin makes both:",
            command("kubectl -n hami-system delete pod POD"),
            "Another root of kubelet: `hami-dra.drivers.nvidia.kubelet.*` in the chart's values.",
        ),
        needs=(),
        look=_sockets,
    ),
    Check(
        id="refused-profiles",
        title="A family's profile is refused",
        expected="profiles without an error",
        why="A family of accelerators whose profile has an error is not served; all others are. The plugin "
        "says file, key and reason, in its log and as an Event on the node.",
        mend=(
            "See what it does on a simulated host, or on this one, then give it to the chart again:",
            command("hami slice --profiles . --family acme"),
            "[What each key means](../profiles.md).",
        ),
        needs=(),
        look=_profiles,
    ),
    Check(
        id="limiter-files",
        title="The limiter's library is missing or is another one",
        expected="the libvgpu.so of the plugin's version, whole",
        why="Containers mount the limiter from `/var/lib/hami/lib`. Without it new Pods with a share do "
        "not start; with another one they run under limits that are not of this version.",
        mend=(
            "The plugin installs it when it starts. Running Pods keep the file that they have:",
            command("kubectl -n hami-system delete pod POD"),
        ),
        needs=(),
        look=_limiter,
    ),
    Check(
        id="checkpoint",
        title="The plugin's checkpoint is damaged",
        expected="a checkpoint whose checksum is right",
        why="The checkpoint says which shares a node has given out. A damaged one is set aside and rebuilt "
        "from the API; that it happened at all points to the disk, or to a full one.",
        mend=(
            "Let the plugin rebuild it:",
            command("kubectl -n hami-system delete pod POD"),
            "Then look at the node's disk, and remove the copy that was set aside:",
            command("df -h /var/lib/hami\nls -l /var/lib/hami/checkpoint.json*"),
        ),
        needs=(),
        look=_checkpoint,
    ),
    Check(
        id="share-folders",
        title="A share's limits or ledger cannot be used",
        expected="readable limits and a ledger of this version for each share",
        why="The limiter refuses every allocation in that container: it fails closed.",
        mend=("End the Pod; the folder is made anew with the next one:", command("kubectl delete pod POD")),
        needs=(),
        look=_shares,
    ),
    Check(
        id="orphaned-shares",
        title="A share's folder or CDI file has no claim",
        expected="a claim in the checkpoint for every folder and CDI file",
        why="Left-overs take no memory of a card, but they show that an unprepare went wrong.",
        mend=(
            "The plugin removes them at its start and every ten minutes. If they stay, its log says why:",
            command(f"{logs('driver')}"),
        ),
        needs=(),
        look=_orphans,
    ),
)

ON_THE_NODE = (*machines.CHECKS, *FILES)
CHECKS = (OPEN_NODES, *ON_THE_NODE)
