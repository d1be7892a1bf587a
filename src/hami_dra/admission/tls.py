"""Certificate source -> files that the server loads, checked for renewal now and then."""

from __future__ import annotations

from pathlib import Path

import structlog

from hami_dra.admission import certs
from hami_dra.http_server import Tls
from hami_dra.model import errors

log = structlog.get_logger(__name__)


def tls(source: certs.Source, folder: Path) -> Tls:
    """Write the source's pair below FOLDER and keep it fresh. Raises errors.HamiError when there is none."""
    held = source.current()
    certificate, key = certs.write(held, folder)

    def renewed() -> bool:
        nonlocal held
        try:
            fresh = source.current()
        except errors.HamiError as problem:
            log.warning("certificate not checked", problem=str(problem))
            return False
        if fresh == held:
            return False
        certs.write(fresh, folder)
        held = fresh
        log.info("certificate renewed")
        return True

    return Tls(certificate, key, renewed, source.every_s)
