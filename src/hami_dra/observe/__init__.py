"""Observation path: slices + claims -> allocations -> metrics -> exporter.

- `allocation`: who holds how much of which card (pure)
- `metrics`: the families, in one table, under upstream's names (pure)
- `collector`: the families filled at scrape time from the caches (edge)
"""
