"""Observation path, in two halves: what a node uses (in its plugin), what the cluster gave away (monitor).

Node: ledgers + NVML + kubelet's PodResources -> (Pod, container, share, card) -> text for Prometheus.

- `ledgers`, `shares`: a share's files, read past every lock (edge)
- `kubelet`, `holders`: who was given which share (edge, pure)
- `totals`, `usage_metrics`, `node_usage`: counters over time, the families, one scrape
- `processes`, `audit`, `pods`, `auditor`: the driver's processes against the ledgers -> Event, SIGKILL

Cluster: slices + claims + Pods -> allocation, room, who waits -> metrics and the page.

- `allocation`, `room`, `waiting`, `cluster`: one moment of the cluster (pure)
- `allocation_metrics`: its families, in tables

`exposition` turns the tables of both into text.
"""
