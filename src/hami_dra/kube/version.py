"""Which Kubernetes the API server is of."""

from __future__ import annotations

import json

from hami_dra.kube.protocol import KubeClient
from hami_dra.model import errors


def minor(kube: KubeClient) -> int:
    """36 of 1.36. Raises errors.KubeError."""
    text = kube.raw("/version")
    try:
        return int(json.loads(text)["minor"].rstrip("+"))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise errors.Unavailable(f"/version tells no version of Kubernetes: {text[:200]!r}") from problem
