"""The support bundle: everything that helps to understand a fault, in one tar file, and no secret.

What cannot be collected is told in `errors.txt` and hinders nothing else: bundles are made when things are
broken. Each step is a name and a function that yields files.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import os
import platform
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hami_dra import __version__
from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient
from hami_dra.model import errors, names
from hami_dra.ops import checks, node_facts, redact
from hami_dra.ops.facts import OURS, Facts
from hami_dra.ops.gather import gather

Files = Iterator[tuple[str, str]]
LOG_LINES = 5000
KINDS = (
    kinds.NODES,
    kinds.RESOURCE_SLICES,
    kinds.RESOURCE_CLAIMS,
    kinds.RESOURCE_CLAIM_TEMPLATES,
    kinds.DEVICE_CLASSES,
    kinds.MUTATING_WEBHOOKS,
)
OURS_ONLY = (kinds.DAEMON_SETS, kinds.DEPLOYMENTS, kinds.PODS)


@dataclass
class Bundle:
    """The tar file as it grows."""

    path: Path
    files: int = 0
    problems: list[str] = field(default_factory=list)


Step = tuple[str, Callable[[], Files]]


def steps(client: KubeClient | None, why_not: str, where: node_facts.Places) -> list[Step]:
    """What is collected, in this order. CLIENT None: there is no cluster to ask, for the reason WHY_NOT."""
    first: list[Step] = [("versions", lambda: _versions(why_not))]
    if where.state.is_dir():
        first.append(("this node", lambda: _this_node(where)))
    if client is None:
        return first
    api = client
    facts: list[Facts] = []

    def doctor() -> Files:
        facts.append(gather(api))
        findings = [dataclasses.asdict(each) for each in checks.run_all(facts[0])]
        yield "doctor.json", redact.text(_json(findings))
        yield (
            "nodes.json",
            redact.text(_json({name: dataclasses.asdict(it) for name, it in facts[0].on_nodes.items()})),
        )

    def namespace() -> str:
        return facts[0].namespace if facts else names.NAMESPACE

    return [
        *first,
        ("doctor", doctor),
        *((f"{kind.plural}", _lister(api, kind)) for kind in KINDS),
        *((f"our {kind.plural}", _lister(api, kind, OURS)) for kind in OURS_ONLY),
        ("Pods with claims", lambda: _users_pods(api)),
        ("events", lambda: _events(api)),
        ("logs", lambda: _logs(api, namespace())),
    ]


def write(path: Path, wanted: list[Step], progress: Callable[[str, int, int], None]) -> Bundle:
    """Carry the steps out; PROGRESS hears the name, number and count of each. OSError: cannot write PATH."""
    bundle = Bundle(path)
    folder = path.name.removesuffix(".tar.gz")
    index: list[str] = []
    with tarfile.open(path, "w:gz") as archive:
        path.chmod(0o600)

        def add(name: str, content: str) -> None:
            data = content.encode()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(datetime.datetime.now().timestamp()), 0o644
            archive.addfile(entry, io.BytesIO(data))
            index.append(f"{name}  {len(data)} bytes")

        for number, (name, collect) in enumerate(wanted, start=1):
            progress(name, number, len(wanted))
            try:
                for file, content in collect():
                    add(file, content)
            except Exception as problem:  # whatever is broken, the rest must still be collected
                bundle.problems.append(f"{name}: {redact.text(str(problem))}")
        add("errors.txt", "\n".join(bundle.problems) + "\n" if bundle.problems else "none\n")
        add("contents.txt", "\n".join(sorted(index)) + "\n")
    bundle.files = len(index)
    return bundle


def _versions(why_not: str) -> Files:
    about = {
        "hami": __version__,
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cluster": redact.text(why_not) or "asked",
    }
    yield "versions.json", _json(about)


def _this_node(where: node_facts.Places) -> Files:
    node = os.environ.get("HAMI_NODE_NAME") or os.uname().nodename
    seen = node_facts.gather(node, where, host=True)
    yield "this-node/facts.json", redact.text(_json(dataclasses.asdict(seen)))
    for limits in sorted(where.state.glob("shares/*/limits")):
        yield f"this-node/shares/{limits.parent.name}/limits", redact.text(limits.read_text(errors="replace"))
    for file in sorted(where.cdi.glob(f"k8s.*{names.DOMAIN}-claim_*.yaml")):
        yield f"this-node/cdi/{file.name}", redact.text(file.read_text(errors="replace"))


def _lister(client: KubeClient, kind: kinds.Kind, labels: str = "") -> Callable[[], Files]:
    def listed() -> Files:
        items, _ = client.list(kind, labels=labels)
        yield f"objects/{'our-' if labels else ''}{kind.plural}.json", _json(redact.scrub(items))

    return listed


def _users_pods(client: KubeClient) -> Files:
    """Pods that have claims; of others nothing is kept."""
    pods, _ = client.list(kinds.PODS)
    slim = [redact.slim_pod(pod) for pod in pods if pod["spec"].get("resourceClaims")]
    yield "objects/pods-with-claims.json", _json(slim)


def _events(client: KubeClient) -> Files:
    events, _ = client.list(kinds.EVENTS)
    kept = [
        {
            key: event.get(key)
            for key in ("reason", "type", "count", "firstTimestamp", "lastTimestamp", "source")
        }
        | {"about": event.get("involvedObject"), "message": redact.text(event.get("message") or "")}
        for event in events
    ]
    yield "events.json", redact.text(_json(kept))


def _logs(client: KubeClient, namespace: str) -> Files:
    """The log of each container of ours, and that of its last run where it was restarted."""
    pods, _ = client.list(kinds.PODS, namespace, labels=OURS)
    for pod in pods:
        name, statuses = pod["metadata"]["name"], pod.get("status", {}).get("containerStatuses") or []
        restarted = {each["name"] for each in statuses if each.get("restartCount")}
        for container in (each["name"] for each in pod["spec"]["containers"]):
            path = (
                f"/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&tailLines={LOG_LINES}"
            )
            yield f"logs/{name}.{container}.log", _log(client, path)
            if container in restarted:
                yield f"logs/{name}.{container}.previous.log", _log(client, f"{path}&previous=true")


def _log(client: KubeClient, path: str) -> str:
    """One Pod's log that cannot be read must not cost the others'."""
    try:
        return redact.text(client.raw(path))
    except errors.KubeError as problem:
        return f"cannot be read: {redact.text(str(problem))}\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, default=str) + "\n"
