"""What a check is. Each one is data: its text becomes a page of the documentation, so neither can drift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hami_dra.model import names
from hami_dra.ops.facts import Facts
from hami_dra.ops.node_facts import DriverFacts, NodeFacts

Severity = Literal["ok", "warning", "error", "unknown"]

DOCUMENTATION = "https://hami-dra.github.io/hami-dra"
CHART = (
    f"helm -n {names.NAMESPACE} install {names.RELEASE} charts/hami --set dra.enabled=true --create-namespace"
)
READABLE = "use a kubeconfig that may read it; `kubectl auth can-i --list` shows what yours may"
SITE = "ansible-playbook -i inventory/mine playbooks/site.yml"


@dataclass(frozen=True)
class Finding:
    """What a check found. `remedy` is the next thing to do; empty when all is well."""

    id: str
    severity: Severity
    found: str
    expected: str = ""
    remedy: str = ""

    @property
    def page(self) -> str:
        """Address of the check's page in the documentation."""
        return page(self.id)


def page(id: str) -> str:
    """Address of the page of the check ID."""
    return f"{DOCUMENTATION}/troubleshooting/{id}/"


@dataclass(frozen=True)
class Verdict:
    """What `look` says; all is well when `severity` is ok."""

    severity: Severity
    found: str
    remedy: str = ""


def fine(found: str) -> Verdict:
    """All is well."""
    return Verdict("ok", found)


def bad(found: str, remedy: str) -> Verdict:
    """Shares cannot be had, or not by everybody, until it is mended."""
    return Verdict("error", found, remedy)


def doubtful(found: str, remedy: str) -> Verdict:
    """It works now; it will not for long, or not as well as it could."""
    return Verdict("warning", found, remedy)


@dataclass(frozen=True)
class Check:
    """A pure function of the facts, with what the documentation says of it.

    `needs`: the facts without which nothing can be said. `why`: what goes wrong without it. `mend`: how to
    mend it, in Markdown, a paragraph or command block each.
    """

    id: str
    title: str
    expected: str
    why: str
    mend: tuple[str, ...]
    needs: tuple[str, ...]
    look: Callable[[Facts], Verdict]

    def run(self, facts: Facts) -> Finding:
        """Look, unless a fact that it needs could not be read."""
        for name in self.needs:
            if name in facts.unreadable:
                found = f"cannot read {name.replace('_', ' ')}: {facts.unreadable[name]}"
                if name == "version":
                    found = facts.unreadable[name]
                return Finding(self.id, "unknown", found, self.expected, READABLE)
        verdict = self.look(facts)
        return Finding(self.id, verdict.severity, verdict.found, self.expected, verdict.remedy)


def some(names: list[str], most: int = 3) -> str:
    """A few of NAMES, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def closed(nodes: dict[str, str]) -> str:
    """Some of NODES, which could not be asked, and why the first of them could not."""
    node, why = min(nodes.items())
    return f"{some(sorted(nodes))}; {node}: {why}"


def node_count(number: int) -> str:
    """`1 node`, `2 nodes`."""
    return "1 node" if number == 1 else f"{number} nodes"


def told(facts: Facts, say: Callable[[NodeFacts], str]) -> list[str]:
    """`node: what SAY says` for every node of which it says something."""
    return [f"{node}: {text}" for node, seen in sorted(facts.on_nodes.items()) if (text := say(seen))]


def told_of_drivers(facts: Facts, say: Callable[[DriverFacts], str]) -> list[str]:
    """`node: what SAY says` of every driver on a node; with the driver's name where there are several."""
    return [
        f"{node} ({driver}): {text}" if len(seen.drivers) > 1 else f"{node}: {text}"
        for node, seen in sorted(facts.on_nodes.items())
        for driver, of in sorted(seen.drivers.items())
        if (text := say(of))
    ]


def logs(component: str, namespace: str = names.NAMESPACE) -> str:
    """The command that shows what the Pods of a COMPONENT say."""
    return f"kubectl -n {namespace} logs -l app.kubernetes.io/component={component}"


def upgrade(namespace: str = names.NAMESPACE, release: str = names.RELEASE) -> str:
    """The command that installs the chart again, as it is set."""
    return f"helm -n {namespace} upgrade {release} charts/hami --reuse-values"


def command(text: str) -> str:
    """A block of commands in Markdown."""
    return f"```\n{text}\n```"


def pods_and_logs(component: str) -> str:
    """The commands that show a COMPONENT's Pods and what they say, in Markdown."""
    pods = f"kubectl -n {names.NAMESPACE} get pods -l app.kubernetes.io/component={component} -o wide"
    return command(f"{pods}\n{logs(component)}")
