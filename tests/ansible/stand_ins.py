"""Playbooks on this machine, with scripts in the place of the programs that they would call."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster import collection

ROOT = Path(__file__).parents[2]


class Machine:
    """This machine with other programs in PATH; FOLDER holds them and what is written for a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()

    def program(self, name: str, script: str) -> None:
        """Put the shell SCRIPT in the place of the program NAME."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def helm(self, says: str) -> Path:
        """A helm that does as it is told; the file in which it notes what it SAYS each time."""
        told = self.folder / "told"
        self.program(
            "helm",
            f"""
echo "{says}" >>{told}
case $* in *--values*) cat >/dev/null ;; esac
echo '{{"info": {{"status": "deployed"}}}}'""",
        )
        return told

    def play(self, playbook: Path | str, *arguments: str, inventory: str, fails: bool = False) -> str:
        """Run PLAYBOOK as `output` does; the output in one line, however long messages were broken."""
        return " ".join(self.output(playbook, *arguments, inventory=inventory, fails=fails).split())

    def output(
        self,
        playbook: Path | str,
        *arguments: str,
        inventory: str,
        fails: bool = False,
        installed: Path | None = None,
    ) -> str:
        """Run PLAYBOOK on INVENTORY (YAML), whose hosts are all this machine; the output.

        INSTALLED is a folder with the installed collection, from which PLAYBOOK comes then.
        """
        hosts = self.folder / "hosts.yml"
        hosts.write_text(inventory)
        local = f"ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}"
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", hosts, playbook, "-e", local]
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        environment = dict(os.environ) | {"PATH": path, "ANSIBLE_NOCOLOR": "1"}
        if installed:
            environment = collection.environment(installed, environment)
        done = subprocess.run(
            [*command, *arguments], cwd=installed or ROOT, env=environment, capture_output=True, text=True
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr
