"""The DRA kubelet plugin of a node.

discover -> slices -> publisher -> (scheduler) -> plugin -> prepare -> checkpoint + shares + cdi -> container

`slices`, `prepare` and `cdi` are pure plans; `publisher`, `driver` and `plugin` are the edges.
"""
