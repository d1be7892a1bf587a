#!/usr/bin/python
"""Several looks at a node in one go: commands that only read, and files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: look
short_description: Run commands that change nothing, and read files
description:
  - One connection for many questions. The commands run side by side; none of them may change anything, so
    that they run in check mode, too.
author: The hami-dra authors
attributes:
  check_mode:
    support: full
    description: The same as without it.
options:
  commands:
    description:
      - By name what to run, as C(argv), a list of words.
      - With C(search), a regular expression, RV(commands) has C(found) in place of the output, which
        may be megabytes of metrics then.
    type: dict
    default: {}
  files: {description: Files to read., type: list, elements: path, default: []}
"""

EXAMPLES = r"""
- name: Look at containerd
  look:
    commands:
      version: {argv: [containerd, --version]}
    files: [/etc/containerd/config.toml]
  register: seen
"""

RETURN = r"""
commands:
  description: By name C(rc), C(stdout), C(stderr) and C(found); 127 is a program that is not there.
  returned: always
  type: dict
files:
  description: By path C(exists) and C(text), which is empty for a file that is not there or no text.
  returned: always
  type: dict
"""

import os  # noqa: E402
import re  # noqa: E402
import subprocess  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

NOT_FOUND = 127
MORE_PROGRAMS = ("/usr/local/bin", "/opt/bin")
"""Where Kubespray, k3s and containerd's own archive put programs; Red Hat's sudo does not look there."""


def run(look: dict[str, Any]) -> dict[str, Any]:
    """Run one command: `{"rc", "stdout", "stderr", "found"}`."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *MORE_PROGRAMS])
    try:
        done = subprocess.run(
            look["argv"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PATH": path},
        )
    except OSError as problem:
        return {
            "rc": NOT_FOUND,
            "stdout": "",
            "stderr": f"{look['argv'][0]}: {problem.strerror}",
            "found": False,
        }
    out = done.stdout.decode(errors="replace")
    pattern = look.get("search", "")
    found = done.returncode == 0 and bool(pattern) and re.search(pattern, out) is not None
    text = "" if pattern else out
    return {
        "rc": done.returncode,
        "stdout": text,
        "stderr": done.stderr.decode(errors="replace"),
        "found": found,
    }


def read(path: Path) -> dict[str, Any]:
    """Read one file: `{"exists", "text"}`."""
    try:
        return {"exists": True, "text": path.read_text(errors="replace")}
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False, "text": ""}
    except OSError:  # a folder, or not ours to read
        return {"exists": True, "text": ""}


def main() -> None:
    """Look, and say what was seen."""
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "dict", "default": {}},
            "files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    with ThreadPoolExecutor() as pool:
        running = {name: pool.submit(run, command) for name, command in module.params["commands"].items()}
        answers = {name: answer.result() for name, answer in running.items()}
    files = {path: read(Path(path)) for path in module.params["files"]}
    module.exit_json(changed=False, commands=answers, files=files)


if __name__ == "__main__":
    main()
