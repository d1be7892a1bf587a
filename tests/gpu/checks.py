"""The checks of `make test-gpu`, in the order of their worth: the riskiest assumption first."""

from __future__ import annotations

from tests.gpu import compute, cost, memory, nature
from tests.gpu.finding import Check

ALL: tuple[tuple[str, Check], ...] = (
    ("event-time", nature.event_time),
    ("events", nature.events),
    ("slices", nature.slices),
    ("graphs", nature.graphs),
    ("nvidia-smi", memory.smi),
    ("fill", memory.fill),
    ("books", memory.books),
    ("unseen", memory.unseen),
    ("shared", memory.shared),
    ("pairs", compute.pairs),
    ("cores", compute.cores),
    ("torch-fill", memory.torch_fill),
    ("torch-train", cost.torch_train),
    ("calls", cost.single_calls),
    ("kills", memory.kills),
)
