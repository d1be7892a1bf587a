"""`make bench`: what things cost, beside the same without us, and beside a peer where one is given.

`python -m tests.bench [NAME ...]` runs everything, or what is named. A benchmark is one file: either in
`subjects/` with `def rows(bench: Bench) -> Iterator[Row]`, or a program of its own in this folder.
"""
