"""Makes the claims and templates that converted Pods name, and collects templates nobody uses.

Every replica of the webhook runs one. All it does is create-or-get, so two of them do no harm, and a restart
begins anew from a list. To spare the API server, the replica that has admitted a Pod goes first (`admitted`).
"""

from __future__ import annotations

import datetime
import math
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from hami_dra.admission import claim_objects, collector, metadata
from hami_dra.admission.work_queue import WorkQueue
from hami_dra.kube import events, kinds
from hami_dra.kube.cache import Cache, Change, Key, key_of
from hami_dra.kube.protocol import KubeClient, Object
from hami_dra.model import errors
from hami_dra.model.claim import users

log = structlog.get_logger(__name__)

COMPONENT = "hami-dra-webhook"
COLLECT_EVERY = datetime.timedelta(minutes=10)

OTHERS_FIRST_S = 0.5
"""Wait before we make what another replica has admitted: it is there by then, if that replica is."""

WORKERS = 8
"""Pods that are worked on at a time: what one waits for is the API server's disk, not us. So many keep up
with 50 Pods/s as long as a write takes 160 ms."""

UNSEEN_S = 30.0
"""So long a template that we have made is taken to be there though the watch has not told of it. One that is
made and deleted while the watch is broken is never told of."""


@dataclass(frozen=True)
class Watched:
    """What the controller sees of the cluster; `pods` are those with the label `hami.io/dra=true`."""

    pods: Cache
    claims: Cache
    templates: Cache

    def synced(self, within_s: float) -> bool:
        """Whether every first list is in; WITHIN_S: for each."""
        return all(cache.synced.wait(within_s) for cache in (self.pods, self.claims, self.templates))


class ClaimController:
    """Work through converted Pods. ADMITTED_HERE: whether this replica has admitted a Pod."""

    def __init__(
        self,
        client: KubeClient,
        watched: Watched,
        device_classes: Collection[str],
        admitted_here: Callable[[Object], bool] = lambda pod: True,
    ) -> None:
        self._client, self._watched, self._device_classes = client, watched, device_classes
        self._admitted_here = admitted_here
        self._work = WorkQueue()
        self._told: dict[Key, set[str]] = {}
        self._one_template = threading.Lock()
        self._made: dict[Key, float] = {}
        watched.pods.on_change(self._pod_changed)
        watched.claims.on_change(self._claim_changed)
        watched.templates.on_change(self._template_changed)

    def run(self, stopping: threading.Event) -> None:
        """Serve until STOPPING is set; from when it is known what is there: nothing is made a second time."""
        while not self._watched.synced(within_s=1.0):
            if stopping.is_set():
                return
        workers = [
            threading.Thread(target=self._serve_until, args=[stopping], name=f"claims-{at}", daemon=True)
            for at in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        collect_at = datetime.datetime.now(datetime.UTC)
        while not stopping.wait(1.0):
            now = datetime.datetime.now(datetime.UTC)
            if now >= collect_at:
                self.collect(now)
                collect_at = now + COLLECT_EVERY
        for worker in workers:
            worker.join()

    def _serve_until(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            if key := self._work.get(timeout_s=1.0):
                self._serve(key)

    def _pod_changed(self, change: Change) -> None:
        first = change.type == "gone" or self._admitted_here(change.object)
        self._work.add(key_of(change.object), 0.0 if first else OTHERS_FIRST_S)

    def _claim_changed(self, change: Change) -> None:
        """A claim that is gone may have stood in the way of its successor: that of a Pod of the same name."""
        if change.type == "gone":
            for owner in change.object["metadata"].get("ownerReferences") or []:
                self._work.add((change.object["metadata"]["namespace"], owner["name"]))

    def _template_changed(self, change: Change) -> None:
        self._made.pop(key_of(change.object), None)
        if change.type == "gone":
            namespace, name = key_of(change.object)
            for pod in self._watched.pods.all():
                if pod["metadata"]["namespace"] == namespace and name in metadata.named(
                    pod["spec"], "templates"
                ):
                    self._work.add(key_of(pod))

    def _serve(self, key: Key) -> None:
        pod = self._watched.pods.get(*key)
        if pod is None:
            self._told.pop(key, None)
            self._work.done(key)
            return
        try:
            self.reconcile(pod)
            self._work.done(key)
        except errors.Denied as refusal:
            self._tell(pod, str(refusal))
            self._work.retry(key)
        except errors.KubeError as problem:
            log.warning("will try again", pod=key, problem=str(problem))
            self._work.retry(key)
        except Exception:
            # One Pod that we stumble over must not end the work on all others.
            log.exception("will try again", pod=key)
            self._work.retry(key)

    def reconcile(self, pod: Object) -> None:
        """Make what POD names and does not exist yet. Raises errors.KubeError."""
        if pod["metadata"].get("deletionTimestamp") or _finished(pod):
            return
        for wish in claim_objects.wishes(pod, self._device_classes):
            if wish.doubt:
                self._tell(pod, wish.doubt)
            elif wish.group == "claims":
                self._ensure_claim(pod, wish.name, wish.spec)
            else:
                self._ensure_template(pod, wish.name, wish.spec)

    def _ensure_claim(self, pod: Object, name: str, spec: Object) -> None:
        namespace = pod["metadata"]["namespace"]
        known = self._watched.claims.get(namespace, name)
        if known and pod["metadata"]["uid"] in claim_objects.owners(known):
            return
        try:
            self._client.create(kinds.RESOURCE_CLAIMS, claim_objects.claim(pod, name, spec), namespace)
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
        owners = claim_objects.owners(found)
        # One of ours that nobody owns has been printed by `hami convert` and made by a person, for this Pod.
        if pod["metadata"]["uid"] in owners or (claim_objects.is_ours(found) and not owners):
            return
        if not claim_objects.is_ours(found):
            raise errors.Denied(
                f"a ResourceClaim {name} exists and is not this Pod's; delete it or rename the Pod"
            )
        other = found["metadata"]["ownerReferences"][0]["name"]
        if self._lives(namespace, other, owners):
            raise errors.Denied(
                f"the ResourceClaim {name} belongs to Pod {other}; rename this Pod or, if its manifest was "
                f"copied from that of {other} as it is stored, write its limits as they were before admission"
            )
        if pod["metadata"]["uid"] in {user["uid"] for user in users(found)}:
            return  # the scheduler was faster: it goes when this Pod ends, and not before
        if not found["metadata"].get("deletionTimestamp"):
            self._client.delete(kinds.RESOURCE_CLAIMS, name, namespace, uid=found["metadata"]["uid"])
        raise errors.Unavailable(f"claim {name} of a former Pod is being removed")

    def _lives(self, namespace: str, name: str, uids: Collection[str]) -> bool:
        """Whether the Pod NAME is still one of UIDS. What we watch may be late, and lacks Pods whose label
        somebody has taken off."""
        try:
            return self._client.get(kinds.PODS, name, namespace)["metadata"]["uid"] in uids
        except errors.NotFound:
            return False

    def _ensure_template(self, pod: Object, name: str, spec: Object) -> None:
        namespace = pod["metadata"]["namespace"]
        key = namespace, name
        # The Pods of a workload come at once: one call serves them all.
        with self._one_template:
            now = time.monotonic()
            if self._watched.templates.get(*key) or now < self._made.get(key, -math.inf) + UNSEEN_S:
                return
            self._made[key] = now
            try:
                body = claim_objects.template(namespace, name, spec)
                self._client.create(kinds.RESOURCE_CLAIM_TEMPLATES, body, namespace)
                log.info("template made", template=name, namespace=namespace)
            except errors.Conflict:
                return
            except Exception:
                self._made.pop(key, None)
                raise

    def collect(self, now: datetime.datetime) -> None:
        """Delete the templates that nobody uses."""
        for template in collector.unused(self._watched.templates.all(), self._watched.pods.all(), now):
            namespace, name = key_of(template)
            try:
                uid = template["metadata"]["uid"]
                self._client.delete(kinds.RESOURCE_CLAIM_TEMPLATES, name, namespace, uid=uid)
            except errors.KubeError as problem:
                log.warning("template not collected", template=name, problem=str(problem))

    def _tell(self, pod: Object, message: str) -> None:
        """An Event on the Pod, once for each message."""
        told = self._told.setdefault(key_of(pod), set())
        # A Pod of the same name may follow: what was told to the former is not told to it.
        seen = f"{pod['metadata']['uid']} {message}"
        if seen not in told:
            told.add(seen)
            events.warn(self._client, pod, "ClaimRefused", message, COMPONENT)


def _finished(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
