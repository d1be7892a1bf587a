"""Playbooks on this machine, with scripts in the place of the programs that they would call."""

import os
import subprocess
import sys
from pathlib import Path

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

    def play(self, playbook: Path | str, *arguments: str, inventory: str, fails: bool = False) -> str:
        """Run PLAYBOOK on INVENTORY (YAML), whose hosts are all this machine; the output in one line."""
        hosts = self.folder / "hosts.yml"
        hosts.write_text(inventory)
        local = f"ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}"
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", hosts, playbook, "-e", local]
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        environment = dict(os.environ) | {"PATH": path, "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        output = " ".join((done.stdout + done.stderr).split())
        assert (done.returncode != 0) == fails, output
        return output
