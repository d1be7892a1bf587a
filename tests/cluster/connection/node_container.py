"""Ansible's way into a node that is a podman container.

containers.podman.podman needs about six `podman exec` a task, because it carries modules over as files. Here
they go through standard input (pipelining, as with ssh), which is one. Its folder stands in ansible.cfg.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: node_container
short_description: Run tasks in a podman container
description: Runs tasks in a container that has Python, and carries modules over through standard input.
author: The hami-dra authors
options:
  remote_addr:
    description: Name of the container.
    default: inventory_hostname
    vars: [{name: inventory_hostname}, {name: ansible_host}]
  remote_user:
    description: Name of a user in the container.
    default: root
    vars: [{name: ansible_user}]
"""

GONE = 125
"""podman's own exit code: there is no such container, or it does not run."""


class Connection(ConnectionBase):  # type: ignore[misc]  # Ansible has no types
    """One `podman exec` for each command."""

    transport = "node_container"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def close(self) -> None:
        """Nothing is held open."""
        self._connected = False

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run CMD with IN_DATA on its standard input: (exit code, output, errors)."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._exec(shlex.split(cmd), in_data)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Write the local file IN_PATH to OUT_PATH in the container."""
        super().put_file(in_path, out_path)
        code, _, error = self._exec(["sh", "-c", 'cat >"$0"', out_path], Path(in_path).read_bytes())
        if code != 0:
            raise AnsibleError(f"{out_path}: {error.decode(errors='replace').strip()}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Read IN_PATH of the container into the local file OUT_PATH."""
        super().fetch_file(in_path, out_path)
        code, data, error = self._exec(["cat", in_path], None)
        if code != 0:
            raise AnsibleError(f"{in_path}: {error.decode(errors='replace').strip()}")
        Path(out_path).write_bytes(data)

    def _exec(self, command: list[str], in_data: bytes | None) -> tuple[int, bytes, bytes]:
        node, user = self.get_option("remote_addr"), self.get_option("remote_user")
        words = ["podman", "exec", "--interactive", "--user", user, node, *command]
        # Ansible forks much: the input is closed where there is none, or the command would wait for it.
        given: dict[str, Any] = {"input": in_data} if in_data else {"stdin": subprocess.DEVNULL}
        try:
            done = subprocess.run(words, capture_output=True, check=False, **given)
        except FileNotFoundError:
            raise AnsibleConnectionFailure("podman is not in PATH") from None
        if done.returncode == GONE:
            raise AnsibleConnectionFailure(done.stderr.decode(errors="replace").strip())
        return done.returncode, done.stdout, done.stderr
