"""Makes the claims and templates that converted Pods name, and collects templates nobody uses.

Every replica of the webhook runs one. All it does is create-or-get, so two of them do no harm, and a restart
begins anew from a list. What to make stands in the Pod's annotation; it is checked before it is believed,
because a user can write annotations too.
"""

from __future__ import annotations

import datetime
import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import structlog

from hami_dra.admission.claims import template_name
from hami_dra.kube import events, kinds
from hami_dra.kube.cache import Cache, Change, Key, key_of
from hami_dra.kube.client import KubeClient, Object
from hami_dra.model import errors, names

log = structlog.get_logger(__name__)

COMPONENT = "hami-dra-webhook"
TRY_AGAIN_AFTER_S = 5.0
COLLECT_EVERY_S = 600.0
UNUSED_FOR = datetime.timedelta(hours=1)


class ClaimController:
    """Work through converted Pods; `pods` is a cache of those with the label `hami.io/dra=true`."""

    def __init__(self, client: KubeClient, pods: Cache, device_class: str) -> None:
        self._client, self._pods, self._device_class = client, pods, device_class
        self._queue: queue.Queue[Key] = queue.Queue()
        self._refused: set[str] = set()
        pods.on_change(self._enqueue)

    def run(self, stopping: threading.Event) -> None:
        """Serve until STOPPING is set."""
        collect_at = datetime.datetime.now(datetime.UTC)
        while not stopping.is_set():
            try:
                key = self._queue.get(timeout=1.0)
            except queue.Empty:
                key = None
            if key is not None and (pod := self._pods.get(*key)) is not None:
                self._serve(pod)
            now = datetime.datetime.now(datetime.UTC)
            if now >= collect_at and self._pods.synced.is_set():
                self._collect_safely(now)
                collect_at = now + datetime.timedelta(seconds=COLLECT_EVERY_S)

    def _enqueue(self, change: Change) -> None:
        if change.type == "set":
            self._queue.put(key_of(change.object))

    def _serve(self, pod: Object) -> None:
        try:
            self.reconcile(pod)
        except errors.Denied as refusal:
            self._tell(pod, str(refusal))
            self._later(pod)
        except errors.KubeError as problem:
            log.warning("will try again", pod=key_of(pod), problem=str(problem))
            self._later(pod)

    def _later(self, pod: Object) -> None:
        timer = threading.Timer(TRY_AGAIN_AFTER_S, self._queue.put, [key_of(pod)])
        timer.daemon = True
        timer.start()

    def reconcile(self, pod: Object) -> None:
        """Make what POD names and does not exist yet. Raises errors.KubeError."""
        if pod["metadata"].get("deletionTimestamp") or _finished(pod):
            return
        for name, spec in self._believed(pod, "claims"):
            self._ensure_claim(pod, name, spec)
        for name, spec in self._believed(pod, "templates"):
            self._ensure_template(pod, name, spec)

    def _believed(self, pod: Object, group: str) -> Iterator[tuple[str, Object]]:
        """The objects of the annotation that the Pod really references and that are of our class."""
        key = "resourceClaimName" if group == "claims" else "resourceClaimTemplateName"
        referenced = {entry.get(key) for entry in pod["spec"].get("resourceClaims") or []}
        for name, spec in _annotation(pod).get(group, {}).items():
            if name not in referenced or not _only_class(spec, self._device_class):
                self._tell(pod, f"the annotation {names.CLAIMS_ANNOTATION} names {name}, which is not ours")
            elif group == "templates" and name != template_name(spec):
                self._tell(pod, f"the template {name} is not named by its content")
            else:
                yield name, spec

    def _ensure_claim(self, pod: Object, name: str, spec: Object) -> None:
        metadata = pod["metadata"]
        body = {
            "apiVersion": kinds.RESOURCE_CLAIMS.api_version,
            "kind": kinds.RESOURCE_CLAIMS.kind,
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": names.MANAGED_BY,
                "ownerReferences": [
                    {
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": spec,
        }
        try:
            self._client.create(kinds.RESOURCE_CLAIMS, body, metadata["namespace"])
            log.info("claim made", claim=name, pod=key_of(pod))
        except errors.Conflict:
            self._settle_conflict(pod, name)

    def _settle_conflict(self, pod: Object, name: str) -> None:
        """The name exists: ours already, a leftover of a former Pod, or somebody else's."""
        namespace = pod["metadata"]["namespace"]
        try:
            found = self._client.get(kinds.RESOURCE_CLAIMS, name, namespace)
        except errors.NotFound:
            raise errors.Unavailable(f"claim {name} went away meanwhile") from None
        owners = found["metadata"].get("ownerReferences") or []
        if any(owner["uid"] == pod["metadata"]["uid"] for owner in owners):
            return
        living = {other["metadata"]["uid"] for other in self._pods.all()}
        abandoned = not any(owner["uid"] in living for owner in owners)
        if abandoned and found["metadata"].get("labels", {}).items() >= names.MANAGED_BY.items():
            self._client.delete(kinds.RESOURCE_CLAIMS, name, namespace, uid=found["metadata"]["uid"])
            raise errors.Unavailable(f"claim {name} of a former Pod is being removed")
        raise errors.Denied(
            f"a ResourceClaim {name} exists and is not this Pod's; delete it or rename the Pod"
        )

    def _ensure_template(self, pod: Object, name: str, spec: Object) -> None:
        namespace = pod["metadata"]["namespace"]
        body = {
            "apiVersion": kinds.RESOURCE_CLAIM_TEMPLATES.api_version,
            "kind": kinds.RESOURCE_CLAIM_TEMPLATES.kind,
            "metadata": {"name": name, "namespace": namespace, "labels": names.MANAGED_BY},
            "spec": {"metadata": {"labels": names.MANAGED_BY}, "spec": spec},
        }
        try:
            self._client.create(kinds.RESOURCE_CLAIM_TEMPLATES, body, namespace)
            log.info("template made", template=name, namespace=namespace)
        except errors.Conflict:
            return

    def _collect_safely(self, now: datetime.datetime) -> None:
        try:
            self.collect(now)
        except errors.KubeError as problem:
            log.warning("templates not collected", problem=str(problem))

    def collect(self, now: datetime.datetime) -> None:
        """Delete our templates that no Pod references and that are older than an hour."""
        used = {
            (pod["metadata"]["namespace"], entry.get("resourceClaimTemplateName"))
            for pod in self._pods.all()
            for entry in pod["spec"].get("resourceClaims") or []
        }
        labels = ",".join(f"{key}={value}" for key, value in names.MANAGED_BY.items())
        for template in self._client.list(kinds.RESOURCE_CLAIM_TEMPLATES, labels=labels)[0]:
            made = datetime.datetime.fromisoformat(template["metadata"]["creationTimestamp"])
            if key_of(template) not in used and now - made > UNUSED_FOR:
                namespace, name = key_of(template)
                self._client.delete(
                    kinds.RESOURCE_CLAIM_TEMPLATES, name, namespace, uid=template["metadata"]["uid"]
                )

    def _tell(self, pod: Object, message: str) -> None:
        """An Event on the Pod, once for each message."""
        seen = f"{pod['metadata']['uid']} {message}"
        if seen not in self._refused:
            self._refused.add(seen)
            events.warn(self._client, pod, "ClaimRefused", message, COMPONENT)


def _annotation(pod: Object) -> dict[str, Any]:
    text = pod["metadata"].get("annotations", {}).get(names.CLAIMS_ANNOTATION, "{}")
    try:
        wanted = json.loads(text)
    except ValueError:
        return {}
    return wanted if isinstance(wanted, dict) else {}


def _only_class(spec: Object, device_class: str) -> bool:
    """Whether every request of SPEC is for DEVICE_CLASS."""
    try:
        for request in spec["devices"]["requests"]:
            asked = request.get("firstAvailable") or [request["exactly"]]
            if any(one["deviceClassName"] != device_class or one.get("adminAccess") for one in asked):
                return False
    except (KeyError, TypeError, AttributeError):
        return False
    return True


def _finished(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
