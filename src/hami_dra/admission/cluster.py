"""What admission holds of the cluster: caches, trimmed to the fields that it reads.

Ten thousand Pods held whole are 200 MiB; what the controller reads of them is a tenth.
"""

from __future__ import annotations

import threading
import time
from functools import partial

import structlog

from hami_dra.admission import traditional_mode
from hami_dra.admission.controller import Watched
from hami_dra.admission.patch import Surroundings
from hami_dra.admission.validate import Stored
from hami_dra.kube import kinds, version
from hami_dra.kube.cache import Cache, Change
from hami_dra.kube.kinds import Kind
from hami_dra.kube.protocol import KubeClient, Object
from hami_dra.model import errors, names, published

log = structlog.get_logger(__name__)

VERSION_EVERY_S = 60.0
PATIENCE_S = 2.0
"""For one object in a review; the API server waits 5 s for the answer."""

_METADATA = (
    "name",
    "namespace",
    "uid",
    "labels",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
)


class Cluster:
    """The caches of one webhook process, and what they mean for a review."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.watched = Watched(
            pods=Cache(client, kinds.PODS, labels=f"{names.CONVERTED_LABEL}=true", keep=pod),
            claims=Cache(client, kinds.RESOURCE_CLAIMS, keep=claim),
            templates=Cache(client, kinds.RESOURCE_CLAIM_TEMPLATES, keep=claim),
        )
        self._slices = Cache(client, kinds.RESOURCE_SLICES)
        self._configurations = Cache(client, kinds.MUTATING_WEBHOOKS, keep=configuration)
        self._slices.on_change(self._forget)
        self._configurations.on_change(self._forget)
        self._kubernetes = 0
        # Another object after each change: a number that several threads add to can miss one.
        self._state = object()
        self._known: tuple[object, Surroundings] | None = None

    def start(self) -> None:
        """Begin to list and watch."""
        for cache in self._caches():
            cache.start()
        threading.Thread(target=self._learn_version, name="version", daemon=True).start()

    def ready(self) -> bool:
        """Whether every first list is in."""
        return all(cache.synced.is_set() for cache in self._caches())

    def surroundings(self) -> Surroundings:
        """What bears on a review now; worked out anew only after a slice or a configuration has changed."""
        state, known = self._state, self._known
        if known is None or known[0] is not state:
            around = Surroundings(
                cards=published.cards(self._slices.all()),
                claim=self.watched.claims.get,
                traditional=traditional_mode.found(self._configurations.all()),
                kubernetes=self._kubernetes,
            )
            known = self._known = (state, around)
        return known[1]

    def stored(self) -> Stored:
        """Finds claims and templates as they are now: a watch is some milliseconds behind."""
        return Stored(
            partial(self._now, kinds.RESOURCE_CLAIMS), partial(self._now, kinds.RESOURCE_CLAIM_TEMPLATES)
        )

    def _now(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """None also while the API server does not answer, as for a webhook that does not."""
        try:
            return self._client.get(kind, name, namespace, patience_s=PATIENCE_S)
        except errors.NotFound:
            return None
        except errors.KubeError as problem:
            log.warning("not looked up", kind=kind.plural, name=name, problem=str(problem))
            return None

    def _learn_version(self) -> None:
        """Again and again: a cluster is upgraded while we run."""
        while True:
            try:
                self._kubernetes = version.minor(self._client)
                self._state = object()
            except errors.KubeError as problem:
                log.warning("version of Kubernetes not known", problem=str(problem))
            time.sleep(VERSION_EVERY_S)

    def _forget(self, change: Change) -> None:
        self._state = object()

    def _caches(self) -> list[Cache]:
        watched = self.watched
        return [watched.pods, watched.claims, watched.templates, self._slices, self._configurations]


def snapshot(client: KubeClient) -> Surroundings:
    """The same, read once: what bears on a review at this moment. Raises errors.KubeError.

    A claim is asked for when its name matters: who may not list those of all namespaces can still use this.
    """

    def claim_of(namespace: str, name: str) -> Object | None:
        try:
            return client.get(kinds.RESOURCE_CLAIMS, name, namespace)
        except errors.NotFound:
            return None

    return Surroundings(
        cards=published.cards(client.list(kinds.RESOURCE_SLICES)[0]),
        claim=claim_of,
        traditional=traditional_mode.found(client.list(kinds.MUTATING_WEBHOOKS)[0]),
    )


def pod(item: Object) -> Object:
    """What is held of a converted Pod."""
    kept = _identity(item)
    annotations = item["metadata"].get("annotations") or {}
    if names.CLAIMS_ANNOTATION in annotations:
        kept["metadata"]["annotations"] = {names.CLAIMS_ANNOTATION: annotations[names.CLAIMS_ANNOTATION]}
    kept["spec"] = {"resourceClaims": item["spec"].get("resourceClaims") or []}
    kept["status"] = {"phase": (item.get("status") or {}).get("phase")}
    return kept


def claim(item: Object) -> Object:
    """What is held of a claim or template; of an allocation only that there is one."""
    allocated = bool((item.get("status") or {}).get("allocation"))
    return _identity(item) | {"spec": item["spec"], "status": {"allocation": allocated}}


def configuration(item: Object) -> Object:
    """What is held of a webhook configuration: names."""
    webhooks = [{"name": webhook["name"]} for webhook in item.get("webhooks") or []]
    return _identity(item) | {"webhooks": webhooks}


def _identity(item: Object) -> Object:
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": {key: item["metadata"][key] for key in _METADATA if key in item["metadata"]},
    }
