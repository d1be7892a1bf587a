"""Which plugin publishes during a rolling update: the one that started last, as long as it answers."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from hami_dra.node.files import write_whole
from hami_dra.node.sockets import Sockets, answers

log = structlog.get_logger(__name__)


class Newest:
    """`<state>/newest-<driver>` holds the service socket of the plugin that started last."""

    def __init__(self, state: Path, own: Sockets) -> None:
        self._file = state / f"newest-{own.driver}"
        self._socket = own.service

    def claim(self) -> None:
        """From now on it is us. On a full disk it is the one before, while that is there: claims can be
        unprepared all the same, which makes space."""
        try:
            write_whole(self._file, os.fsencode(self._socket))
        except OSError as problem:
            log.warning("a plugin that runs beside this one goes on publishing", error=str(problem))

    def is_another(self) -> bool:
        """Whether a plugin that started after us is there and answers."""
        try:
            newest = Path(os.fsdecode(self._file.read_bytes()))
        except FileNotFoundError:
            return False
        return newest != self._socket and newest.is_socket() and answers(newest)
