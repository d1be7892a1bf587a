"""Prometheus metrics of the plugin. kubelet's own buckets start at 100 ms, far above what we take."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45)

PREPARE = Histogram("hami_node_prepare_duration_seconds", "One NodePrepareResources call.", buckets=_SECONDS)
UNPREPARE = Histogram(
    "hami_node_unprepare_duration_seconds", "One NodeUnprepareResources call.", buckets=_SECONDS
)
FAILURES = Counter("hami_node_claim_failures_total", "Claims that failed.", ("operation", "reason"))
PUBLISHES = Counter("hami_node_slice_publishes_total", "Times that the node's ResourceSlices were written.")
PUBLISH_FAILURES = Counter("hami_node_slice_publish_failures_total", "Times that writing them failed.")
SICK = Gauge("hami_node_device_sick", "1: no new share lands on the device.", ("driver", "device"))
PREPARED = Gauge(
    "hami_node_prepared_claims", "Claims of a driver that are prepared on this node now.", ("driver",)
)
SWEPT = Counter("hami_node_swept_total", "Left-overs removed that no live claim owns.", ("kind",))
