"""Manifests -> what admission would make of them, without a cluster. Pure.

Workload controllers are treated as the cluster treats them: it is their Pods that are converted, and those
have a controller and a generated name, so they get templates.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from hami_dra.admission.patch import Settings, Surroundings, convert
from hami_dra.kube import kinds
from hami_dra.model import names

Object = dict[str, Any]

# Kind -> where its Pod template stands.
_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


def convert_all(documents: Iterable[Object], settings: Settings, surroundings: Surroundings) -> list[Object]:
    """Return every document as it would be, each followed by what is made for it. Raises RequestDenied."""
    made: list[Object] = []
    seen: set[tuple[str, str]] = set()
    for document in flatten(documents):
        for item in _convert(document, settings, surroundings):
            key = (item.get("kind", ""), f"{_namespace(item)}/{item.get('metadata', {}).get('name', '')}")
            # Two workloads of one shape share a template.
            if key[0] == kinds.RESOURCE_CLAIM_TEMPLATES.kind and key in seen:
                continue
            seen.add(key)
            made.append(item)
    return made


def flatten(documents: Iterable[Object]) -> Iterator[Object]:
    """Documents with Lists opened and empty ones left out."""
    for document in documents:
        if not document:
            continue
        if document.get("kind") == "List":
            yield from flatten(document.get("items") or [])
        else:
            yield document


def _convert(document: Object, settings: Settings, surroundings: Surroundings) -> Iterator[Object]:
    kind = document.get("kind", "")
    if kind == "Pod":
        yield from _pod(document, _namespace(document), settings, surroundings)
    elif kind in _TEMPLATES:
        yield document
        yield from _pod_of_workload(document, settings, surroundings)
    else:
        yield document


def _pod(pod: Object, namespace: str, settings: Settings, surroundings: Surroundings) -> Iterator[Object]:
    made = convert(pod, namespace, settings, surroundings)
    if made is None:
        yield pod
        return
    yield made.pod
    for name, spec in made.claims.items():
        yield _object(kinds.RESOURCE_CLAIMS, name, namespace, spec)
    for name, spec in made.templates.items():
        body = {"metadata": {"labels": dict(names.MANAGED_BY)}, "spec": spec}
        yield _object(kinds.RESOURCE_CLAIM_TEMPLATES, name, namespace, body)


def _pod_of_workload(workload: Object, settings: Settings, surroundings: Surroundings) -> Iterator[Object]:
    """A Pod as the workload's controller would make it, converted; nothing when it asks for no GPU."""
    template: Object = workload
    for step in _TEMPLATES[workload["kind"]]:
        template = template.get(step) or {}
    if not template.get("spec"):
        return
    pod = copy.deepcopy(template) | {"apiVersion": "v1", "kind": "Pod"}
    name = workload.get("metadata", {}).get("name", "workload")
    namespace = _namespace(workload)
    pod["metadata"] = {
        **(pod.get("metadata") or {}),
        "generateName": f"{name}-",
        "namespace": namespace,
    }
    items = list(_pod(pod, namespace, settings, surroundings))
    if len(items) > 1:
        yield from items


def _namespace(item: Object) -> str:
    return str(item.get("metadata", {}).get("namespace") or "default")


def _object(kind: kinds.Kind, name: str, namespace: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": dict(names.MANAGED_BY)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
