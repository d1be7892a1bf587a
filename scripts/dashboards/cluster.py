"""The whole cluster: what there is, what is given away, who waits."""

from __future__ import annotations

from grafana import RATE, Panel, bars, figure, lines, table

PANELS = [
    figure("Cards", "Cards that nodes publish.", "sum(hami_dra_node_gpus)"),
    figure(
        "Memory allocated",
        "Part of all memory that Pods hold.",
        "sum(hami_dra_gpu_memory_allocated_bytes) / sum(hami_dra_gpu_memory_limit_bytes)",
        "percentunit",
    ),
    figure(
        "Memory used",
        "Part of what Pods hold that their processes use, where the use is known.",
        "sum(hami_vgpu_memory_used_bytes)"
        " / sum(hami_vgpu_memory_limit_bytes and hami_vgpu_memory_used_bytes)",
        "percentunit",
    ),
    figure("Shares", "Shares that are allocated.", "sum(hami_dra_gpu_shares)"),
    figure(
        "Pods waiting", "Pods that wait for a share.", "sum(hami_dra_pods_waiting) or vector(0)", bad_from=1
    ),
    figure(
        "Cards lost",
        "Cards that their driver cannot reach.",
        "count(hami_host_gpu_healthy == 0) or vector(0)",
        bad_from=1,
    ),
    lines(
        "Memory",
        "What there is, what is given away, what is used.",
        "bytes",
        ("sum(hami_dra_gpu_memory_limit_bytes)", "of all cards"),
        ("sum(hami_dra_gpu_memory_allocated_bytes)", "allocated"),
        ("sum(hami_vgpu_memory_used_bytes)", "used"),
    ),
    lines(
        "Compute, in cards",
        "What is reserved, and what is used.",
        "short",
        ("sum(hami_dra_gpu_core_limit_ratio)", "of all cards"),
        ("sum(hami_dra_gpu_core_allocated_ratio)", "reserved"),
        (f"sum(rate(hami_vgpu_compute_seconds_total{RATE}))", "used"),
    ),
    lines(
        "Memory allocated by namespace",
        "A claim that several Pods use counts once.",
        "bytes",
        ("hami_dra_namespace_memory_allocated_bytes", "{{namespace}}"),
        stack=True,
    ),
    lines(
        "Memory that is held and not used, by namespace",
        "Allocated to Pods, but their processes have not asked for it.",
        "bytes",
        (
            "sum by (namespace) (hami_vgpu_memory_limit_bytes - hami_vgpu_memory_used_bytes)",
            "{{namespace}}",
        ),
        stack=True,
    ),
    bars(
        "Largest share that fits, by node",
        "A share lies on one card: free memory that is scattered does not help it.",
        "bytes",
        "sort_desc(hami_dra_node_largest_free_memory_bytes)",
        "{{node}}",
    ),
    lines(
        "Pods waiting, by cause",
        "See the monitor's page for each one.",
        "short",
        ("hami_dra_pods_waiting", "{{reason}}"),
        stack=True,
    ),
    table(
        "Longest waiting Pods",
        "Seconds since the Pod was created.",
        "s",
        "topk(20, time() - hami_dra_pod_waiting_since_timestamp_seconds)",
        "__name__",
        "instance",
        "job",
    ),
    table(
        "Memory held past the limiter",
        "Processes that the audit reported. Empty is good.",
        "bytes",
        "sum by (node, namespace, pod, container, kind) (hami_audit_unbooked_memory_bytes)",
    ),
]

VARIABLES: list[Panel] = []
