"""An API server in memory with the semantics our code leans on: versions, conflicts, uids, watches."""

from __future__ import annotations

import copy
import itertools
import queue
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from hami_dra.kube.kinds import Kind
from hami_dra.kube.protocol import Object, PatchType, WatchEvent
from hami_dra.model import errors

Key = tuple[str, str, str]


class Gate:
    """Calls with VERB of one object wait here until it is opened; `reached` is set by the first of them,
    `waiting` is how many there are."""

    def __init__(self, verb: str, plural: str, name: str) -> None:
        self._for = (verb, plural, name)
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.waiting = 0
        self._lock = threading.Lock()

    def passes(self, call: tuple[str, str, str]) -> None:
        if call == self._for:
            with self._lock:
                self.waiting += 1
            self.reached.set()
            self.opened.wait(60)


class FakeKube:
    """Implements `hami_dra.kube.KubeClient`. `fail_next` injects errors for the next calls,
    `fail_on` = (verb, plural, times) for those of one verb and kind; `gate` holds up those of one object.

    `texts`: what `raw` finds by path. `programs`: what a program prints (or how it fails) by its Pod's name.
    """

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._log: list[tuple[int, str, WatchEvent]] = []
        self._watchers: list[tuple[str, queue.Queue[WatchEvent | None]]] = []
        self._version = itertools.count(1)
        self._lock = threading.RLock()
        self.fail_next: list[errors.KubeError] = []
        self.fail_on: tuple[str, str, int] | None = None
        self.gate: Gate | None = None
        self.texts: dict[str, str] = {"/version": '{"major": "1", "minor": "36"}'}
        self.programs: dict[str, str | errors.KubeError] = {}
        self.calls: list[tuple[str, str, str]] = []

    def get(
        self, kind: Kind, name: str, namespace: str | None = None, *, patience_s: float | None = None
    ) -> Object:
        with self._called("get", kind, name):
            return copy.deepcopy(self._find(kind, name, namespace))

    def list(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        with self._called("list", kind, ""):
            found = [
                copy.deepcopy(item)
                for (plural, space, _), item in sorted(self._objects.items())
                if plural == kind.plural and namespace in (None, space) and _matches(item, labels, fields)
            ]
            return found, str(self._peek())

    def create(
        self, kind: Kind, body: Object, namespace: str | None = None, *, dry_run: bool = False
    ) -> Object:
        with self._called("create", kind, body["metadata"].get("name", "")):
            stored = copy.deepcopy(body)
            meta = stored["metadata"]
            if "name" not in meta:
                meta["name"] = meta["generateName"] + uuid.uuid4().hex[:12]
            if kind.namespaced:
                meta["namespace"] = namespace or meta.get("namespace") or "default"
            key = (kind.plural, meta.get("namespace", ""), meta["name"])
            if key in self._objects:
                raise errors.Conflict(f'{kind.plural} "{meta["name"]}" already exists', status=409)
            meta["uid"] = str(uuid.uuid4())
            if dry_run:
                return stored
            return self._store(kind, key, stored, "ADDED")

    def replace(self, kind: Kind, body: Object, namespace: str | None = None) -> Object:
        with self._called("replace", kind, body["metadata"]["name"]):
            old = self._find(kind, body["metadata"]["name"], namespace)
            wanted = body["metadata"].get("resourceVersion")
            if wanted and wanted != old["metadata"]["resourceVersion"]:
                raise errors.Conflict("the object has been modified", status=409)
            stored = copy.deepcopy(body)
            stored["metadata"]["uid"] = old["metadata"]["uid"]
            return self._store(kind, self._key(kind, old), stored, "MODIFIED")

    def patch(
        self,
        kind: Kind,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        type: PatchType = "merge",
        subresource: str = "",
        manager: str = "",
    ) -> Object:
        with self._called("patch", kind, name):
            assert type != "json", "the fake merges only"
            old = self._find(kind, name, namespace)
            meant = (body.get("metadata") or {}).get("uid", old["metadata"]["uid"])
            if meant != old["metadata"]["uid"]:
                raise errors.Conflict("the uid does not match", status=409)
            stored = _merge(copy.deepcopy(old), body)
            return self._store(kind, self._key(kind, old), stored, "MODIFIED")

    def delete(self, kind: Kind, name: str, namespace: str | None = None, *, uid: str = "") -> None:
        with self._called("delete", kind, name):
            old = self._find(kind, name, namespace)
            if uid and uid != old["metadata"]["uid"]:
                raise errors.Conflict("the uid does not match", status=409)
            del self._objects[self._key(kind, old)]
            self._announce(kind, "DELETED", old)

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        timeout_s: int = 240,
    ) -> Iterator[WatchEvent]:
        feed: queue.Queue[WatchEvent | None] = queue.Queue()
        with self._lock:
            for version, plural, event in self._log:
                if plural == kind.plural and version > int(resource_version):
                    feed.put(event)
            self._watchers.append((kind.plural, feed))
        while True:
            try:
                event = feed.get(timeout=timeout_s)
            except queue.Empty:
                return
            if event is None:
                return
            space = event.object["metadata"].get("namespace", "")
            if namespace in (None, space) and _matches(event.object, labels, fields):
                yield WatchEvent(event.type, copy.deepcopy(event.object))

    def raw(self, path: str) -> str:
        with self._lock:
            if path not in self.texts:
                raise errors.NotFound(f"nothing at {path}", status=404)
            return self.texts[path]

    def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        said = self.programs.get(pod, errors.Denied(f"cannot run {command[0]} in {pod}"))
        if isinstance(said, errors.KubeError):
            raise said
        return said

    def put(self, kind: Kind, namespace: str, name: str, item: Object) -> None:
        """Have ITEM there as it is, whatever it is."""
        self._objects[kind.plural, namespace, name] = item

    def lose(self, kind: Kind) -> None:
        """Be without objects of a kind, and without a word: a backup was restored."""
        with self._lock:
            self._objects = {key: item for key, item in self._objects.items() if key[0] != kind.plural}

    def forget_history(self) -> None:
        """Keep no events but the last: a watch cannot begin before it any more."""
        with self._lock:
            del self._log[:-1]

    def end_watches(self) -> None:
        """Close every open watch, as a restarting API server does."""
        with self._lock:
            for _, feed in self._watchers:
                feed.put(None)
            self._watchers.clear()

    def _called(self, verb: str, kind: Kind, name: str) -> threading.RLock:
        if self.gate:
            self.gate.passes((verb, kind.plural, name))
        with self._lock:
            self.calls.append((verb, kind.plural, name))
            if self.fail_next:
                raise self.fail_next.pop(0)
            if self.fail_on and self.fail_on[:2] == (verb, kind.plural):
                left = self.fail_on[2] - 1
                self.fail_on = (verb, kind.plural, left) if left else None
                raise errors.Unavailable("etcd leader changed", status=503)
        return self._lock

    def _find(self, kind: Kind, name: str, namespace: str | None) -> Object:
        key = (kind.plural, (namespace or "") if kind.namespaced else "", name)
        if key not in self._objects:
            raise errors.NotFound(f'{kind.plural} "{name}" not found', status=404)
        return self._objects[key]

    def _key(self, kind: Kind, item: Object) -> Key:
        return (kind.plural, item["metadata"].get("namespace", ""), item["metadata"]["name"])

    def _store(self, kind: Kind, key: Key, stored: Object, event: str) -> Object:
        stored["metadata"]["resourceVersion"] = str(self._peek() + 1)
        stored.setdefault("apiVersion", kind.api_version)
        stored.setdefault("kind", kind.kind)
        self._objects[key] = stored
        self._announce(kind, event, stored)
        return copy.deepcopy(stored)

    def _peek(self) -> int:
        return self._log[-1][0] if self._log else 0

    def _announce(self, kind: Kind, event: str, item: Object) -> None:
        entry = WatchEvent(event, copy.deepcopy(item))
        self._log.append((next(self._version), kind.plural, entry))
        for plural, feed in self._watchers:
            if plural == kind.plural:
                feed.put(entry)


def _matches(item: Object, labels: str, fields: str) -> bool:
    have = item["metadata"].get("labels") or {}
    for part in filter(None, labels.split(",")):
        key, _, value = part.partition("=")
        if have.get(key) != value:
            return False
    for part in filter(None, fields.split(",")):
        path, _, value = part.partition("=")
        at: Any = item
        for step in path.split("."):
            at = (at or {}).get(step)
        if at != value:
            return False
    return True


def _merge(into: Object, patch: Object) -> Object:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)
    return into
