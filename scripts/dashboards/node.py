"""One node or several: their cards, the shares on them, how preparing goes."""

from __future__ import annotations

from grafana import RATE, figure, lines, variable

ON_NODE = 'node=~"$node"'
PANELS = [
    figure("Cards", "Cards of these nodes.", f"sum(hami_dra_node_gpus{{{ON_NODE}}})"),
    figure(
        "Shares", "Shares on these nodes.", f"count(hami_vgpu_memory_limit_bytes{{{ON_NODE}}}) or vector(0)"
    ),
    figure("Processes", "Processes that use a share.", f"sum(hami_vgpu_processes{{{ON_NODE}}})"),
    figure(
        "Cards lost",
        "Cards that their driver cannot reach.",
        f"count(hami_host_gpu_healthy{{{ON_NODE}}} == 0) or vector(0)",
        bad_from=1,
    ),
    figure(
        "Past the limiter",
        "Processes that hold memory which no share has booked.",
        f"sum(hami_audit_processes{{{ON_NODE}}}) or vector(0)",
        bad_from=1,
    ),
    figure("Power", "What these cards draw.", f"sum(hami_host_gpu_power_watts{{{ON_NODE}}})", "watt"),
    lines(
        "Memory of each card in use",
        "As the driver says, by anybody.",
        "percentunit",
        (
            f"hami_host_gpu_memory_used_bytes{{{ON_NODE}}} / hami_host_gpu_memory_total_bytes{{{ON_NODE}}}",
            "{{node}} {{device_index}}",
        ),
    ),
    lines(
        "Compute of each card in use",
        "As the driver says: part of the time in which a kernel ran.",
        "percentunit",
        (f"hami_host_gpu_utilization_ratio{{{ON_NODE}}}", "{{node}} {{device_index}}"),
    ),
    lines(
        "Memory of each share",
        "What its processes hold.",
        "bytes",
        (f"hami_vgpu_memory_used_bytes{{{ON_NODE}}}", "{{namespace}}/{{pod}} {{container}}"),
        stack=True,
    ),
    lines(
        "Compute of each share",
        "Device time, in cards.",
        "short",
        (f"rate(hami_vgpu_compute_seconds_total{{{ON_NODE}}}{RATE})", "{{namespace}}/{{pod}} {{container}}"),
        stack=True,
    ),
    lines(
        "Temperature",
        "Of each card.",
        "celsius",
        (f"hami_host_gpu_temperature_celsius{{{ON_NODE}}}", "{{node}} {{device_index}}"),
    ),
    lines(
        "Power",
        "Of each card.",
        "watt",
        (f"hami_host_gpu_power_watts{{{ON_NODE}}}", "{{node}} {{device_index}}"),
        stack=True,
    ),
    lines(
        "Time to prepare a share",
        "NodePrepareResources of all nodes; a Pod's start waits for it.",
        "s",
        (
            f"histogram_quantile(0.5, sum by (le) (rate(hami_node_prepare_duration_seconds_bucket{RATE})))",
            "half of them",
        ),
        (
            f"histogram_quantile(0.99, sum by (le) (rate(hami_node_prepare_duration_seconds_bucket{RATE})))",
            "99 of 100",
        ),
    ),
    lines(
        "Claims that failed",
        "By operation and reason.",
        "short",
        (
            f"sum by (operation, reason) (rate(hami_node_claim_failures_total{RATE}))",
            "{{operation}} {{reason}}",
        ),
    ),
]

VARIABLES = [variable("node", "label_values(hami_dra_node_gpus, node)")]
