"""Tries that a rollout keeps its promises: each is a name and a function that says what is wrong.

Nothing is changed: Pods are sent as a dry run through the real admission.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException

from hami_dra.admission.families import NVIDIA
from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient
from hami_dra.model import errors
from hami_dra.ops import checks, installed
from hami_dra.ops.facts import component
from hami_dra.ops.gather import gather

ANSWER_WITHIN_S = 10.0
PROMISES = ("device-class", "gpu-label", "plugin", "slices", "cards", "shared-devices", "webhook", "monitor")
"""Checks of the doctor without which no Pod gets a share."""


@dataclass(frozen=True)
class Outcome:
    """`problem` is empty when the promise is kept. `seen`: one could look."""

    promise: str
    problem: str = ""
    seen: bool = True


def cluster(client: KubeClient) -> list[Outcome]:
    """The plugin on each node, cards that can be shared, and admission that converts a Pod."""
    facts = gather(client, into_nodes=False)
    if not facts.reachable:
        raise errors.Unavailable(facts.unreadable["version"])
    chosen = [check for check in checks.CHECKS if check.id in PROMISES]
    found = [
        Outcome(
            finding.id,
            "" if finding.severity == "ok" else f"{finding.found}. {finding.remedy}",
            seen=finding.severity != "unknown",
        )
        for finding in checks.run(chosen, facts)
    ]
    if any(component(item) == "webhook" for item in facts.deployments):
        found.append(Outcome("admission", _admission(client)))
    return found


def answers(url: str) -> Outcome:
    """Does URL answer with a success?"""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WITHIN_S):  # noqa: S310  addresses are our chart's
            return Outcome(url)
    except (OSError, ValueError, HTTPException) as problem:
        return Outcome(url, f"does not answer: {problem}")


def until(look: Callable[[], list[Outcome]], wait: Callable[[], bool]) -> list[Outcome]:
    """Look again while something is wrong and WAIT, which sleeps, says that there is time."""
    while True:
        found = look()
        if not any(outcome.problem for outcome in found) or not wait():
            return found


def _admission(client: KubeClient) -> str:
    try:
        found = installed.webhook(client)
    except errors.KubeError:  # whoever may not read it takes the defaults
        found = None
    families = found.settings.families if found else (NVIDIA,)
    if not families:
        return ""
    asked = families[0].resources
    limits = {asked.gpu: "1"}
    if families[0].mapped:  # Kubernetes itself may serve who asks for whole cards
        limits |= {asked.memory: "1024", asked.cores: "10"}
    container = {
        "name": "verify",
        "image": "hami-verify",
        "resources": {"limits": limits},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    # The namespace may enforce Pod Security's level `restricted`.
    confined = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "hami-verify-", "namespace": "default"},
        "spec": {"securityContext": confined, "containers": [container]},
    }
    try:
        made = client.create(kinds.PODS, pod, "default", dry_run=True)
    except errors.KubeError as refusal:
        return f"a Pod that asks for {asked.gpu} is refused: {refusal}"
    if not made["spec"].get("resourceClaims"):
        return f"a Pod that asks for {asked.gpu} comes back unchanged. hami doctor"
    return ""
