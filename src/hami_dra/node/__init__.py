"""The DRA kubelet plugin of a node.

discover -> slices -> publisher -> (scheduler) -> plugin -> prepare -> checkpoint + shares + cdi -> container

backend -> inventory (every 2 s) -> taints in the slices, and health_stream -> kubelet

ledgers -> arbiter (every 25 ms) -> hints in the ledgers, which the limiters of one card compute by

`slices`, `prepare`, `cdi` and `arbiter` are pure plans; `publisher`, `driver` and `plugin` are the edges.
"""
