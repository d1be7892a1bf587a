"""AdmissionReview v1 over HTTPS -> conversion -> JSON patch. The edge of the admission path.

The answer depends on the Pod and on what is published, and nothing is written: reviews are safe in a dry
run and may be repeated.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter, Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hami_dra.admission.patch import Conversion, Settings, Surroundings, convert
from hami_dra.model.errors import RequestDenied

log = structlog.get_logger(__name__)

Object = dict[str, Any]

LARGEST_BODY = 6 * 1024 * 1024
"""Bytes. The API server admits objects of 3 MiB; a review carries one and its wrapping."""

REVIEWS = Counter("hami_dra_admission_reviews_total", "Admission reviews by outcome.", ["outcome"])
DURATION = Histogram(
    "hami_dra_admission_duration_seconds",
    "Time to answer a review.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 1, 5),
)


class AdmissionServer:
    """`app` is the ASGI application; `surroundings` is asked anew for each review."""

    def __init__(self, settings: Settings, surroundings: Callable[[], Surroundings]) -> None:
        self._settings, self._surroundings = settings, surroundings
        self.app = Starlette(routes=[Route("/mutate", self._mutate, methods=["POST"])])

    async def _mutate(self, request: Request) -> Response:
        with DURATION.time():
            body = await _body(request)
            if body is None:
                return _bad("the body is too large", 413)
            try:
                review = msgspec.json.decode(body)
                answer = self.review(review["request"])
            except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as problem:
                REVIEWS.labels("malformed").inc()
                return _bad(f"not an AdmissionReview of a Pod: {problem}", 400)
        return JSONResponse(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
        )

    def review(self, request: Object) -> Object:
        """Return the `response` for an AdmissionReview's `request`. Pure but for metrics and log."""
        answer: Object = {"uid": request["uid"], "allowed": True}
        pod = request["object"]
        if not pod or pod.get("kind") != "Pod":
            REVIEWS.labels("ignored").inc()
            return answer
        try:
            namespace = request.get("namespace") or "default"
            made = convert(pod, namespace, self._settings, self._surroundings())
        except RequestDenied as refusal:
            REVIEWS.labels("denied").inc()
            log.info("denied", namespace=request.get("namespace"), reason=str(refusal))
            status = {"code": 422, "reason": "Invalid", "message": str(refusal)}
            return answer | {"allowed": False, "status": status}
        if made is None:
            REVIEWS.labels("ignored").inc()
            return answer
        REVIEWS.labels("converted").inc()
        patch = base64.b64encode(json.dumps(json_patch(pod, made)).encode()).decode()
        answer |= {"patchType": "JSONPatch", "patch": patch}
        if made.warnings:
            answer["warnings"] = made.warnings
        return answer


def json_patch(pod: Object, made: Conversion) -> list[Object]:
    """RFC 6902 operations that turn POD into its conversion: three whole subtrees, no more."""
    metadata = made.pod["metadata"]
    operations = [{"op": "replace", "path": "/spec", "value": made.pod["spec"]}]
    if "metadata" not in pod:
        return [*operations, {"op": "add", "path": "/metadata", "value": metadata}]
    for key in ("labels", "annotations"):
        operations.append({"op": "add", "path": f"/metadata/{key}", "value": metadata[key]})
    return operations


async def _body(request: Request) -> bytes | None:
    """The whole body, or None as soon as it is larger than any review can be."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


def _bad(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status_code=status)
