"""What this process has named in its reviews lately: it makes that at once, and other replicas wait for it.

Every replica's controller could make every claim, and without this all of them would try. A replica that ends
between review and claim holds up nobody for longer than the others' wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from hami_dra.admission import metadata
from hami_dra.kube.protocol import Object

MOST = 10_000
"""Names that are remembered: more than are admitted between a review and the Pod's first event."""


class Admitted:
    """Written by reviews, read by the controller."""

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[str, str], None] = OrderedDict()

    def note(self, namespace: str, names: Iterable[str]) -> None:
        """A review has put NAMES of claims or templates into a Pod of NAMESPACE."""
        for name in names:
            self._names[namespace, name] = None
        while len(self._names) > MOST:
            self._names.popitem(last=False)

    def here(self, pod: Object) -> bool:
        """Whether POD names something that was noted."""
        namespace = pod["metadata"]["namespace"]
        return any(
            (namespace, name) in self._names
            for group in ("claims", "templates")
            for name in metadata.named(pod["spec"], group)
        )
