"""What we mount into containers must have a label that SELinux lets them use.

CDI mounts files as they are labelled, and what is made below /var/lib is var_lib_t, which confined containers
may not read. A new file takes its folder's type, so a folder needs its label only once.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

TYPE = "container_file_t"

_ATTRIBUTE = "security.selinux"
_LABEL = f"system_u:object_r:{TYPE}:s0".encode()


def closed(folder: Path) -> bool:
    """Whether FOLDER has a label, and not one that containers may use. Without SELinux there is none."""
    try:
        return TYPE not in os.getxattr(folder, _ATTRIBUTE).decode()
    except OSError:
        return False


def open_to_containers(folder: Path) -> None:
    """Give FOLDER and all that is in it the label of files of containers, unless it has that already."""
    folder.mkdir(parents=True, exist_ok=True)
    if not closed(folder):
        return
    try:
        for path in (*folder.rglob("*"), folder):  # it comes last: where this is cut short, it is done again
            with suppress(FileNotFoundError):
                os.setxattr(path, _ATTRIBUTE, _LABEL, follow_symlinks=False)
    except OSError as error:
        log.warning("SELinux keeps containers from our files", folder=str(folder), error=str(error))
