"""Read what bears on one Pod, for `explain`."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient, Object
from hami_dra.model import errors, names
from hami_dra.model.claim import names_of
from hami_dra.model.explanation import View
from hami_dra.ops import installed
from hami_dra.ops.facts import OURS, Facts

PUBLISHED = (kinds.RESOURCE_SLICES, kinds.RESOURCE_CLAIMS, kinds.NODES, kinds.DEVICE_CLASSES)


def of_pod(client: KubeClient, namespace: str, name: str) -> View:
    """Return the Pod with its claims and everything published; errors.NotFound when it is not there.

    Of what is published nothing, where one may look into a namespace only.
    """
    pod = client.get(kinds.PODS, name, namespace)
    # By uid: a former Pod of that name, as a StatefulSet makes them, has left its own behind.
    events, _ = client.list(kinds.EVENTS, namespace, fields=f"involvedObject.uid={pod['metadata']['uid']}")
    slices, all_claims, nodes, classes = (_all(client, kind) for kind in PUBLISHED)
    release = _release(client)
    return View(
        pod=pod,
        claims=_claims(client, pod, namespace),
        events=sorted(events, key=_seen_at),
        slices=slices or [],
        all_claims=all_claims or [],
        nodes=nodes or [],
        classes=classes or [],
        closed=None in (slices, all_claims, nodes, classes),
        resources=_resources(client),
        labels=",".join(f"{key}={value}" for key, value in release.gpu_labels.items()),
        system=release.namespace,
    )


def _seen_at(event: Object) -> str:
    """When it was seen last: the scheduler's events have no `lastTimestamp`, as of events.k8s.io."""
    series = event.get("series") or {}
    return series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""


def _all(client: KubeClient, kind: kinds.Kind, labels: str = "") -> list[Object] | None:
    """None where one may not see them."""
    try:
        return client.list(kind, labels=labels)[0]
    except errors.Denied:
        return None


def _release(client: KubeClient) -> Facts:
    """How the plugins are installed; the chart's way where one may not see it."""
    return Facts(daemon_sets=_all(client, kinds.DAEMON_SETS, OURS) or [])


def _resources(client: KubeClient) -> Collection[str]:
    """What admission makes claims of; NVIDIA's names of the chart where one may not see how it is set."""
    try:
        found = installed.webhook(client)
    except errors.Denied:
        found = None
    return installed.resources(found.settings) if found else names.NVIDIA_RESOURCES


def _claims(client: KubeClient, pod: Object, namespace: str) -> list[Object]:
    """The claims that exist of those the Pod names, by itself or through a template."""
    found = []
    for name in names_of(pod):
        with suppress(errors.NotFound):
            found.append(client.get(kinds.RESOURCE_CLAIMS, name, namespace))
    return found
