"""Read what bears on one Pod, for `explain`."""

from __future__ import annotations

from hami_dra.kube import kinds
from hami_dra.kube.client import KubeClient, Object
from hami_dra.model import errors
from hami_dra.model.explain import View


def of_pod(client: KubeClient, namespace: str, name: str) -> View:
    """Return the Pod with its claims and everything published; errors.NotFound when it is not there."""
    pod = client.get(kinds.PODS, name, namespace)
    events, _ = client.list(kinds.EVENTS, namespace, fields=f"involvedObject.name={name}")
    return View(
        pod=pod,
        claims=_claims(client, pod, namespace),
        events=sorted(events, key=lambda event: event.get("lastTimestamp") or ""),
        slices=client.list(kinds.RESOURCE_SLICES)[0],
        all_claims=client.list(kinds.RESOURCE_CLAIMS)[0],
        nodes=client.list(kinds.NODES)[0],
        classes=client.list(kinds.DEVICE_CLASSES)[0],
    )


def _claims(client: KubeClient, pod: Object, namespace: str) -> list[Object]:
    """The claims that exist of those the Pod names, by itself or through a template."""
    made = {
        entry["name"]: entry.get("resourceClaimName")
        for entry in pod.get("status", {}).get("resourceClaimStatuses") or []
    }
    found = []
    for entry in pod["spec"].get("resourceClaims") or []:
        name = entry.get("resourceClaimName") or made.get(entry["name"])
        if not name:
            continue
        try:
            found.append(client.get(kinds.RESOURCE_CLAIMS, name, namespace))
        except errors.NotFound:
            continue
    return found
