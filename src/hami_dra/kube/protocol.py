"""The seam to the API server: what our code asks for. `client.Client` is the real one.

Objects are plain dicts as in YAML, so that the same pure functions serve the cluster, `hami convert`
and the tests. `tests/support/fake_kube.py` implements the same Protocol in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from hami_dra.kube.kinds import Kind

Object = dict[str, Any]
PatchType = Literal["merge", "json", "apply"]

MANAGER = "hami-dra"


class WatchEvent(NamedTuple):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class KubeClient(Protocol):
    """Everything that the package asks of the API server. All methods raise errors.KubeError."""

    def get(
        self, kind: Kind, name: str, namespace: str | None = None, *, patience_s: float | None = None
    ) -> Object:
        """Return one object; errors.NotFound when it is not there. PATIENCE_S: try again as long as that."""
        ...

    def list(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Return the objects and the resource version to watch from."""
        ...

    def create(
        self, kind: Kind, body: Object, namespace: str | None = None, *, dry_run: bool = False
    ) -> Object:
        """Create and return the stored object; errors.Conflict when the name is taken.

        DRY_RUN: admission has its say, and nothing is stored.
        """
        ...

    def replace(self, kind: Kind, body: Object, namespace: str | None = None) -> Object:
        """Replace by name; with a resourceVersion in BODY, errors.Conflict when it changed."""
        ...

    def patch(
        self,
        kind: Kind,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        type: PatchType = "merge",
        subresource: str = "",
        manager: str = MANAGER,
    ) -> Object:
        """Patch and return the stored object. MANAGER: who applies; what that has applied before and does not
        any more, goes."""
        ...

    def delete(self, kind: Kind, name: str, namespace: str | None = None, *, uid: str = "") -> None:
        """Delete; with UID only that very object (errors.Conflict otherwise)."""
        ...

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        timeout_s: int = 240,
    ) -> Iterator[WatchEvent]:
        """Yield changes after RESOURCE_VERSION until the server ends the watch; errors.Gone: list again."""
        ...

    def raw(self, path: str) -> str:
        """Return the text below PATH, for example /metrics or /version."""
        ...

    def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        """Run a program in a container and return what it prints; errors.Denied when it fails."""
        ...
