"""The one exception tree of the package.

HamiError
├── UserError               bad input from a person: what, where, how to fix
│   └── RequestDenied       a Pod or claim that admission refuses
├── DriverError             the accelerator's driver cannot be used
├── PrepareError            a claim cannot be prepared on this node
├── StateError              files of ours on the node are damaged or foreign
└── KubeError               the API server refused or did not answer
    ├── NotFound
    ├── Conflict            changed meanwhile, or exists already
    ├── Denied              unauthenticated, forbidden, invalid, or over quota
    ├── Gone                a watch's resource version is too old
    └── Unavailable         worth trying again
"""

from __future__ import annotations


class HamiError(Exception):
    """Base of every error that this package raises on purpose."""


class UserError(HamiError):
    """Bad input. `what` is wrong, `where` it stands, `fix` says what to write instead."""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        text = f"{where}: {what}" if where else what
        super().__init__(f"{text}. {fix}" if fix else text)


class RequestDenied(UserError):
    """A Pod or claim that admission refuses."""


class DriverError(HamiError):
    """The accelerator's driver is missing, broken or answers nonsense."""


class PrepareError(HamiError):
    """A claim cannot be prepared on this node; `reason` is a CamelCase cause for metrics and Events."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StateError(HamiError):
    """A file of ours on the node is damaged, or was written by a version we do not know."""


class KubeError(HamiError):
    """The API server refused a call or could not be reached. `status` is the HTTP status, 0 if none."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(KubeError):
    """404: the object is not there."""


class Conflict(KubeError):
    """409: the object changed meanwhile, or exists already."""


class Denied(KubeError):
    """401, 403, 422 and other refusals that trying again does not change."""


class Gone(KubeError):
    """410: the resource version of a list or watch is too old."""


class Unavailable(KubeError):
    """429, 5xx or no answer: worth trying again."""
