"""Manifests -> what admission would make of them, without a cluster. Pure.

A workload is treated as the cluster treats it: it stays as it is, and the Pods that its controller makes are
converted; those have a generated name, so they get templates. A workload is whatever contains a Pod template,
so that kinds nobody has listed here (Volcano, JobSet, Kubeflow, Argo) are shown as well.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hami_dra.admission import claim_objects, schema
from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.settings import Settings
from hami_dra.kube import kinds
from hami_dra.model import names
from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]

EXCLUDED_NAMESPACES = ("kube-system", names.NAMESPACE)
"""Left alone by the webhook as the chart registers it."""


@dataclass
class Outcome:
    """`items`: every document, each followed by what is made for it. A refused one is left out."""

    items: list[Object] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def convert_all(
    documents: Iterable[Object],
    settings: Settings,
    surroundings: Surroundings,
    namespace: str = "default",
    excluded: Collection[str] = EXCLUDED_NAMESPACES,
) -> Outcome:
    """Convert DOCUMENTS; those that name no namespace are taken to be applied in NAMESPACE."""
    outcome = Outcome()
    for document in flatten(documents):
        try:
            schema.document(document)
        except RequestDenied as refusal:
            outcome.refusals.append(f"not a Kubernetes object: {refusal}")
            continue
        space = (document.get("metadata") or {}).get("namespace") or namespace
        if document.get("kind") != "Pod":
            outcome.items.append(document)
        for pod in _pods(document, space):
            try:
                schema.pod(pod)
                made = None if space in excluded else convert(pod, space, settings, surroundings)
            except RequestDenied as refusal:
                outcome.refusals.append(f"{_title(document)}: {refusal}")
                continue
            if made is None:
                outcome.items += [pod] if pod is document else []
                continue
            outcome.warnings += [f"{_title(document)}: {warning}" for warning in made.warnings]
            outcome.items.append(made.pod)
            outcome.items += [claim_objects.bare_claim(space, *each) for each in made.claims.items()]
            outcome.items += [claim_objects.template(space, *each) for each in made.templates.items()]
    return outcome


def flatten(documents: Iterable[Object]) -> Iterator[Object]:
    """Documents with Lists opened and empty ones left out; what is no object as it is."""
    for document in documents:
        if not document:
            continue
        if not isinstance(document, dict):
            yield document
        elif isinstance(document.get("items"), list) and str(document.get("kind", "")).endswith("List"):
            # The items of a PodList name no kind of their own.
            kind: str = document["kind"].removesuffix("List")
            stamp: Object = {"apiVersion": document.get("apiVersion"), "kind": kind} if kind else {}
            yield from flatten(stamp | item if isinstance(item, dict) else item for item in document["items"])
        else:
            yield document


def without_repeats(items: Iterable[Object]) -> list[Object]:
    """ITEMS with each template once: workloads of one shape share it."""
    kept: list[Object] = []
    for item in items:
        if item.get("kind") != kinds.RESOURCE_CLAIM_TEMPLATES.kind or item not in kept:
            kept.append(item)
    return kept


def pod_templates(item: Any) -> Iterator[Object]:
    """Every Pod template below ITEM, wherever its kind keeps it."""
    if isinstance(item, list):
        for entry in item:
            yield from pod_templates(entry)
    elif isinstance(item, dict):
        for value in item.values():
            spec = value.get("spec") if isinstance(value, dict) else None
            if isinstance(spec, dict) and isinstance(spec.get("containers"), list):
                yield value
            else:
                yield from pod_templates(value)


def _pods(document: Object, namespace: str) -> Iterator[Object]:
    """The Pod itself, or one for each template of a workload, as its controller would make it."""
    if document.get("kind") == "Pod":
        yield document
        return
    name = (document.get("metadata") or {}).get("name", "workload")
    for template in pod_templates(document):
        pod: Object = {"apiVersion": "v1", "kind": "Pod"} | copy.deepcopy(template)
        pod["metadata"] = {
            **(pod.get("metadata") or {}),
            "generateName": f"{name}-",
            "namespace": namespace,
        }
        for at, container in enumerate(pod["spec"]["containers"]):
            if isinstance(container, dict):  # Knative's Service, among others, names it later
                container.setdefault("name", f"container-{at}")
        yield pod


def _title(document: Object) -> str:
    return f"{document.get('kind', '?')} {(document.get('metadata') or {}).get('name', '?')}"
