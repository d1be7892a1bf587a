"""A local copy of the objects of one kind, kept fresh by list and watch (an informer).

A thread of its own lists, watches, and lists again when the watch is too old or broken. Readers get the
dict as it is now; `on_change` callbacks run in the cache's thread and must not block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import structlog

from hami_dra.kube.kinds import Kind
from hami_dra.kube.protocol import KubeClient, Object, WatchEvent
from hami_dra.model import errors

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 1.0
SHORTEST_WATCH_S = 1.0
"""A watch without events that ends sooner is none: a proxy answers so whose API server is away."""

Key = tuple[str, str]


class Change(NamedTuple):
    """`type` is `set` or `gone`."""

    type: Literal["set", "gone"]
    object: Object


def key_of(item: Object) -> Key:
    """(namespace, name); the namespace is empty for cluster-scoped objects."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Cache:
    """Start with `start`; `synced` is set once the first list is in.

    `heard_at`: when the API server last had its say, a list, an event or the end of a watch (seconds of the
    epoch, 0 before the first). What is held is at most that old; without changes that is some minutes.

    KEEP returns what is held of an object, its name and namespace at least: thousands of them are small then,
    and listeners hear of no change but of what is held.
    """

    def __init__(
        self,
        client: KubeClient,
        kind: Kind,
        *,
        labels: str = "",
        fields: str = "",
        keep: Callable[[Object], Object] = lambda item: item,
    ) -> None:
        self.synced = threading.Event()
        self.heard_at = 0.0
        self._client, self.kind, self._labels, self._fields = client, kind, labels, fields
        self._keep = keep
        self._objects: dict[Key, Object] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"cache-{kind.plural}", daemon=True)

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Call LISTENER for every change, from the first list on; register before `start`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to list and watch."""
        self._thread.start()

    def stop(self) -> None:
        """End after the watch's next event; the thread is a daemon and holds up nothing."""
        self._stopping.set()

    def get(self, namespace: str, name: str) -> Object | None:
        """Return one object, or None. Callers must not change it."""
        return self._objects.get((namespace, name))

    def all(self) -> list[Object]:
        """Return every object. Callers must not change them."""
        return list(self._objects.values())

    def take(self, event: WatchEvent) -> None:
        """Hold what EVENT of a watch says, and tell the listeners."""
        self.heard_at = time.time()
        if event.type != "BOOKMARK":
            kind: Literal["set", "gone"] = "gone" if event.type == "DELETED" else "set"
            self._apply(Change(kind, self._keep(event.object)))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except errors.Gone:
                pass  # listed anew
            except errors.KubeError as problem:
                log.warning("watch interrupted", kind=self.kind.plural, problem=str(problem))
            except Exception:
                # Without its thread a cache would go on telling what once was.
                log.exception("watch interrupted", kind=self.kind.plural)
            self._stopping.wait(RETRY_AFTER_S)

    def _follow(self) -> None:
        items, version = self._client.list(self.kind, labels=self._labels, fields=self._fields)
        fresh = {key_of(item): item for item in items}
        for key in [key for key in self._objects if key not in fresh]:
            self._apply(Change("gone", self._objects[key]))
        for item in items:
            self._apply(Change("set", self._keep(item)))
        self.heard_at = time.time()
        self.synced.set()
        while not self._stopping.is_set():
            began, before = time.monotonic(), self.heard_at
            for event in self._client.watch(self.kind, version, labels=self._labels, fields=self._fields):
                version = event.object["metadata"]["resourceVersion"]
                self.take(event)
                if self._stopping.is_set():
                    return
            if self.heard_at == before and time.monotonic() - began < SHORTEST_WATCH_S:
                raise errors.Unavailable(f"watch of {self.kind.plural} ended at once")
            self.heard_at = time.time()

    def _apply(self, change: Change) -> None:
        key = key_of(change.object)
        if change.type == "gone":
            self._objects.pop(key, None)
        elif self._objects.get(key) == change.object:
            return
        else:
            self._objects[key] = change.object
        for listener in self._listeners:
            listener(change)
