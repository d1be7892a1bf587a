"""Which templates nobody uses. Pure.

A template is a few hundred bytes and is made again within milliseconds when a Pod needs it, so collecting one
too many does no harm; an hour of grace keeps those of workloads whose Pods come and go.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from hami_dra.admission import metadata
from hami_dra.admission.claim_objects import is_ours
from hami_dra.kube.cache import key_of
from hami_dra.kube.protocol import Object

UNUSED_FOR = datetime.timedelta(hours=1)


def unused(templates: Iterable[Object], pods: Iterable[Object], now: datetime.datetime) -> list[Object]:
    """Templates of ours that are older than an hour and that none of PODS (all converted ones) references."""
    used = {
        (pod["metadata"]["namespace"], name)
        for pod in pods
        for name in metadata.named(pod["spec"], "templates")
    }
    return [
        template
        for template in templates
        if is_ours(template) and key_of(template) not in used and now - _made(template) > UNUSED_FOR
    ]


def _made(item: Object) -> datetime.datetime:
    return datetime.datetime.fromisoformat(item["metadata"]["creationTimestamp"])
