"""What the shares of a namespace use, and what holds them back."""

from __future__ import annotations

from grafana import RATE, figure, lines, table, variable

OF_TENANT = 'namespace=~"$namespace"'
PANELS = [
    figure(
        "Shares", "Shares that are held.", f"count(hami_vgpu_memory_limit_bytes{{{OF_TENANT}}}) or vector(0)"
    ),
    figure(
        "Memory held",
        "Sum of the shares' limits.",
        f"sum(hami_vgpu_memory_limit_bytes{{{OF_TENANT}}})",
        "bytes",
    ),
    figure(
        "Memory used",
        "Part of what is held, where the use is known.",
        f"sum(hami_vgpu_memory_used_bytes{{{OF_TENANT}}})"
        f" / sum(hami_vgpu_memory_limit_bytes{{{OF_TENANT}}} and hami_vgpu_memory_used_bytes)",
        "percentunit",
    ),
    figure(
        "Compute used",
        "In cards.",
        f"sum(rate(hami_vgpu_compute_seconds_total{{{OF_TENANT}}}{RATE}))",
    ),
    figure(
        "Refused",
        "Allocations that did not fit, in the last hour.",
        f"sum(increase(hami_vgpu_allocations_refused_total{{{OF_TENANT}}}[1h]))",
        bad_from=1,
    ),
    figure(
        "Pods waiting",
        "Among the hundred that wait longest.",
        f"count(hami_dra_pod_waiting_since_timestamp_seconds{{{OF_TENANT}}}) or vector(0)",
        bad_from=1,
    ),
    lines(
        "Memory of each share, of its limit",
        "At 100 % the next allocation is refused.",
        "percentunit",
        (
            f"hami_vgpu_memory_used_bytes{{{OF_TENANT}}} / hami_vgpu_memory_limit_bytes{{{OF_TENANT}}}",
            "{{pod}} {{container}}",
        ),
    ),
    lines(
        "Compute of each share, of its limit",
        "At 100 % launches are held back.",
        "percentunit",
        (
            f"rate(hami_vgpu_compute_seconds_total{{{OF_TENANT}}}{RATE})"
            f" / hami_vgpu_core_limit_ratio{{{OF_TENANT}}}",
            "{{pod}} {{container}}",
        ),
    ),
    lines(
        "Memory",
        "In bytes.",
        "bytes",
        (f"hami_vgpu_memory_used_bytes{{{OF_TENANT}}}", "{{pod}} {{container}}"),
        stack=True,
    ),
    lines(
        "Held back",
        "Part of the time in which a process's launches waited for the compute limit.",
        "percentunit",
        (
            f"rate(hami_vgpu_throttled_seconds_total{{{OF_TENANT}}}{RATE})"
            f" / clamp_min(hami_vgpu_processes{{{OF_TENANT}}}, 1)",
            "{{pod}} {{container}}",
        ),
    ),
    table(
        "Idle shares",
        "Seconds since the share last computed.",
        "s",
        f"topk(20, hami_container_last_kernel_elapsed_seconds{{{OF_TENANT}}} > 600)",
        "__name__",
        "instance",
        "job",
        "share",
        "vdevice_index",
    ),
    table(
        "Waiting Pods",
        "Seconds since the Pod was created.",
        "s",
        f"time() - hami_dra_pod_waiting_since_timestamp_seconds{{{OF_TENANT}}}",
        "instance",
        "job",
    ),
]

VARIABLES = [variable("namespace", "label_values(hami_vgpu_memory_limit_bytes, namespace)")]
