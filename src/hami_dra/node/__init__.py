"""The DRA kubelet plugin of a node.

discover -> slices -> publisher -> (scheduler) -> plugin -> prepare -> checkpoint + shares + cdi -> container

ledgers -> arbiter (every 25 ms) -> hints in the ledgers, which the limiters of one card compute by

`slices`, `prepare`, `cdi` and `arbiter` are pure plans; `publisher`, `driver` and `plugin` are the edges.
"""
