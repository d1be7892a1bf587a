"""Fractional accelerators for Kubernetes through Dynamic Resource Allocation.

Three data paths, each readable top to bottom in its own package:

- `hami_dra.node`: NVML -> Device -> ResourceSlice; claim -> share -> CDI -> container
- `hami_dra.admission`: Pod -> GPU request -> claim -> patch
- `hami_dra.observe`: slices + claims + ledgers -> metrics
"""

__version__ = "0.1.0"
