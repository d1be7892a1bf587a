"""AdmissionReview v1 over HTTPS -> conversion or verdict -> answer. The edge of the admission path.

The answer depends on the object and on what is published, and nothing is written: reviews are safe in a dry
run and may be repeated.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter, Histogram
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hami_dra.admission import update, validate
from hami_dra.admission.admitted import Admitted
from hami_dra.admission.families import MIG, NVIDIA
from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.request import CONTAINER_LISTS, refuse_ephemeral
from hami_dra.admission.settings import Settings
from hami_dra.admission.validate import Stored
from hami_dra.kube.decode import decode
from hami_dra.model.errors import RequestDenied

log = structlog.get_logger(__name__)

Object = dict[str, Any]
Review = Callable[[Object], Object]

LARGEST_BODY = 6 * 1024 * 1024
"""Bytes. The API server admits objects of 3 MiB; a review carries one and its wrapping."""

BODY_TIMEOUT_S = 10.0
"""The API server waits 5 s for an answer: who is slower with his request is not the API server."""

REVIEWS = Counter("hami_dra_admission_reviews_total", "Admission reviews by outcome.", ["outcome"])
for _outcome in ("converted", "restored", "valid", "ignored", "denied", "malformed"):
    REVIEWS.labels(_outcome)  # from zero on: of a series that begins with 1, no rate sees the first
DURATION = Histogram(
    "hami_dra_admission_duration_seconds",
    "Time to answer a review.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 1, 5),
)


class AdmissionServer:
    """`app` is the ASGI application. SURROUNDINGS is asked for each review, ADMITTED told of conversions."""

    def __init__(
        self,
        settings: Settings,
        surroundings: Callable[[], Surroundings],
        stored: Stored | None = None,
        admitted: Admitted | None = None,
    ) -> None:
        self._settings, self._surroundings = settings, surroundings
        self._stored, self._admitted = stored or Stored(), admitted or Admitted()
        self.app = Starlette(
            routes=[
                Route("/mutate", _Endpoint(self.mutate), methods=["POST"]),
                Route("/validate", _Endpoint(self.validate, waits=True), methods=["POST"]),
            ]
        )

    def mutate(self, request: Object) -> Object:
        """Return the `response` to a review of a Pod. Pure but for metrics, log and a note of it."""
        pod = request["object"]
        if not pod or pod.get("kind") != "Pod":
            return _allowed(request, "ignored")
        try:
            if request.get("subResource"):
                refuse_ephemeral(pod, self._settings.families)
                return _allowed(request, "ignored")
            if request.get("operation") == "UPDATE":
                return self._updated(request, pod, request["oldObject"])
            namespace = request.get("namespace") or "default"
            made = convert(pod, namespace, self._settings, self._surroundings())
        except RequestDenied as refusal:
            return _denied(request, str(refusal))
        if made is None:
            return _allowed(request, "ignored")
        self._admitted.note(namespace, [*made.claims, *made.templates])
        return _allowed(request, "converted", made.warnings) | _patch(pod, made.pod)

    def _updated(self, request: Object, pod: Object, stored: Object) -> Object:
        """Only of Pods that were converted: an update of any other makes no claim."""
        if not update.is_converted(stored):
            return _allowed(request, "ignored")
        restored = update.restored(pod, stored, self._settings.families)
        return _allowed(request, "restored") | _patch(pod, restored)

    def validate(self, request: Object) -> Object:
        """Return the `response` to a review of a claim, a template, or a Pod that uses them."""
        item, kind = request["object"], request["kind"]["kind"]
        families, around = (*self._settings.families, NVIDIA, MIG), self._surroundings()
        if kind == "Pod":
            namespace = request.get("namespace") or "default"
            verdict = validate.pod(item, namespace, families, self._stored)
        else:
            template = kind == "ResourceClaimTemplate"
            spec, where = (item["spec"]["spec"], "spec.spec") if template else (item["spec"], "spec")
            verdict = validate.claim(spec, where, families, around.cards, around.kubernetes)
        if verdict.problems:
            return _denied(request, "; ".join(map(str, verdict.problems)))
        return _allowed(request, "valid", verdict.warnings)


def _patch(pod: Object, wanted: Object) -> Object:
    """The part of an answer that turns POD into WANTED."""
    patch = base64.b64encode(msgspec.json.encode(json_patch(pod, wanted))).decode()
    return {"patchType": "JSONPatch", "patch": patch}


def json_patch(pod: Object, wanted: Object) -> list[Object]:
    """RFC 6902 operations that turn POD into WANTED, as admission made it, and touch nothing that stays."""
    old, new = pod["spec"], wanted["spec"]
    operations: list[Object] = []
    for group in CONTAINER_LISTS:
        pairs = zip(old.get(group) or [], new.get(group) or [], strict=True)
        for at, (before, after) in enumerate(pairs):
            if after is not before:
                operations.append(_set(f"/spec/{group}/{at}/resources", after["resources"]))
    for key in ("resourceClaims", "schedulerName"):
        if new.get(key) != old.get(key):
            operations.append(_set(f"/spec/{key}", new[key]))
    if wanted.get("metadata") is pod.get("metadata"):
        return operations
    if not pod.get("metadata"):
        return [*operations, _set("/metadata", wanted["metadata"])]
    return [
        *operations,
        *(_set(f"/metadata/{key}", wanted["metadata"][key]) for key in ("labels", "annotations")),
    ]


def _set(path: str, value: Any) -> Object:
    """`add` makes a member or replaces it."""
    return {"op": "add", "path": path, "value": value}


def _allowed(request: Object, outcome: str, warnings: list[str] | None = None) -> Object:
    REVIEWS.labels(outcome).inc()
    answer: Object = {"uid": request["uid"], "allowed": True}
    return answer | {"warnings": warnings} if warnings else answer


def _denied(request: Object, message: str) -> Object:
    REVIEWS.labels("denied").inc()
    log.info("denied", namespace=request.get("namespace"), name=request.get("name"), reason=message)
    status = {"code": 422, "reason": "Invalid", "message": message}
    return {"uid": request["uid"], "allowed": False, "status": status}


class _Endpoint:
    """One path as an ASGI application: body in, review answered, JSON out. WAITS: it may ask the API."""

    def __init__(self, review: Review, *, waits: bool = False) -> None:
        self._review, self._waits = review, waits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with DURATION.time():
            try:
                body = await _body(receive)
                status = 200
                answer = await asyncio.to_thread(self._answer, body) if self._waits else self._answer(body)
            except _Refused as refused:
                REVIEWS.labels("malformed").inc()
                status, answer = refused.status, {"error": str(refused)}
        data = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    def _answer(self, body: bytes) -> Object:
        try:
            response = self._review(decode(body)["request"])
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as problem:
            raise _Refused(f"not an AdmissionReview that is ours: {problem!r}", 400) from problem
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


class _Refused(Exception):
    """A request that is no review; `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def _body(receive: Receive) -> bytes:
    """The whole body. One that comes slowly is given up, one that is too large is not read to its end."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            parts, size = [], 0
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Refused("the client went away", 400)
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                if size > LARGEST_BODY:
                    raise _Refused("the body is too large", 413)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise _Refused("the request does not come to its end", 408) from None
