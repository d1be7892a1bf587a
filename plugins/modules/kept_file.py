#!/usr/bin/python
"""A file that belongs to somebody else: written with its original kept, and put back byte for byte."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kept_file
short_description: Write a file and keep what was there, or put that back
description:
  - With O(state=written) the file gets O(content) by rename. What was there before (its bytes, owner and
    mode, or that there was nothing) is kept below O(keep) first, outside of the file's own folder, where for
    example kubelet would read a copy. If O(path) is a link, it stays, and the file that it leads to is meant.
  - With O(state=restored) the original comes back when the file is still the one that was written; a file
    that somebody changed since then is left alone.
  - With O(state=undone) the file gets what it had before the last write, for a change that did not work out.
author: The hami-dra authors
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: The lines that change and no others, because a neighbour of theirs may be a password.
options:
  path: {description: The file., type: path, required: true}
  keep: {description: Folder for originals., type: path, default: /var/lib/hami/kept}
  content: {description: The new text., type: str}
  state:
    description: What to do.
    type: str
    choices: [written, undone, restored]
    default: written
"""

EXAMPLES = r"""
- name: Write
  kept_file:
    path: /etc/containerd/config.toml
    content: "{{ text }}"

- name: Put back
  kept_file:
    path: /etc/containerd/config.toml
    state: restored
"""

RETURN = r"""
ours:
  description: Whether the file is, or was before it was put back, the one that this module wrote.
  returned: always
  type: bool
kept:
  description: Folder with the original.
  returned: always
  type: str
"""

import base64  # noqa: E402
import contextlib  # noqa: E402
import difflib  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

Record = dict[str, Any]


def read(path: Path) -> bytes | None:
    """The file's bytes; None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def digest(data: bytes | None) -> str:
    """What identifies a file's content; empty for no file."""
    return "" if data is None else hashlib.sha256(data).hexdigest()


def record_path(keep: Path, path: Path) -> Path:
    """Where the original of PATH is recorded: `/etc/a/b.yaml` is `etc!a!b.yaml.json`."""
    return keep / f"{str(path).strip('/').replace('/', '!')}.json"


def new_record(path: Path, before: bytes | None, content: bytes) -> Record:
    """What is needed to go back: the original with owner and mode, and what counts as still ours."""
    record: Record = {"path": str(path), "written": digest(content), "original": None}
    record["folders"] = [str(folder) for folder in path.parents if not folder.exists()]
    if before is not None:
        status = path.stat()
        record["original"] = base64.b64encode(before).decode()
        record |= {"mode": status.st_mode & 0o7777, "uid": status.st_uid, "gid": status.st_gid}
    return record


def is_ours(record: Record, now: bytes | None) -> bool:
    """Whether NOW is what we wrote last, or before that: a write may have got no further than its record."""
    previous = record.get("previous")
    return digest(now) == record["written"] or (previous is not None and now == base64.b64decode(previous))


def replace(path: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write the whole file or nothing. The temporary name begins with a dot: kubelet reads no such file."""
    handle, name = tempfile.mkstemp(prefix=".hami-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        if owner is not None:
            os.chown(name, *owner)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write(path: Path, keep: Path, content: bytes, check: bool) -> bool:
    """Keep what is there and write CONTENT; whether that changes anything."""
    before = read(path)
    if before == content:
        return False
    if check:
        return True
    target = record_path(keep, path)
    known: Record | None = json.loads(target.read_text()) if target.is_file() else None
    record = new_record(path, before, content)
    if known is not None and is_ours(known, before):
        # Ours already: the original is the one from before our first change.
        record = known | {"written": digest(content)}
        record["previous"] = base64.b64encode(before or b"").decode()
    keep.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace(target, json.dumps(record).encode(), 0o600)
    path.parent.mkdir(parents=True, exist_ok=True)
    if before is None:
        replace(path, content)
    else:
        status = path.stat()
        replace(path, content, status.st_mode & 0o7777, (status.st_uid, status.st_gid))
    return True


def undo(path: Path, keep: Path, check: bool) -> tuple[bool, bool, bytes | None]:
    """Take the last write back; as `restore` where that was the first one."""
    target, now = record_path(keep, path), read(path)
    record: Record = json.loads(target.read_text()) if target.is_file() else {}
    if "previous" not in record:
        return restore(path, keep, check)
    if not is_ours(record, now):
        return False, False, now
    previous = base64.b64decode(record.pop("previous"))
    if not check:
        status = path.stat()
        replace(path, previous, status.st_mode & 0o7777, (status.st_uid, status.st_gid))
        replace(target, json.dumps(record | {"written": digest(previous)}).encode(), 0o600)
    return now != previous, True, previous


def restore(path: Path, keep: Path, check: bool) -> tuple[bool, bool, bytes | None]:
    """Put the original back: (changed, whether the file was still ours, the bytes that it has then)."""
    target, now = record_path(keep, path), read(path)
    if not target.is_file():
        return False, False, now
    record: Record = json.loads(target.read_text())
    original = None if record["original"] is None else base64.b64decode(record["original"])
    if now != original and not is_ours(record, now):
        return False, False, now
    if not check:
        if original is None:
            path.unlink(missing_ok=True)
            remove_empty(record["folders"])
        elif now != original:
            replace(path, original, record["mode"], (record["uid"], record["gid"]))
        target.unlink()
        remove_empty([str(keep), str(keep.parent)])
    return True, True, original


def remove_empty(folders: list[str]) -> None:
    """Remove the folders, the innermost first, that were made for the file and hold nothing else now."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def changed_lines(path: Path, before: bytes | None, after: bytes | None) -> str:
    """A unified diff without context: the lines around a change are none of ours to show."""
    old, new = ((data or b"").decode(errors="replace").splitlines() for data in (before, after))
    lines = difflib.unified_diff(old, new, str(path), str(path), n=0, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Write or restore one file."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "keep": {"type": "path", "default": "/var/lib/hami/kept"},
            "content": {"type": "str"},
            "state": {"type": "str", "choices": ["written", "undone", "restored"], "default": "written"},
        },
        required_if=[("state", "written", ["content"])],
        supports_check_mode=True,
        # The text may hold its owner's credentials: neither the system's log nor -vvv gets it.
        no_log=True,
    )
    content = (module.params["content"] or "").encode()
    module.params["content"] = "hidden: may hold credentials"
    # A link of the file's owner stays: what it leads to is read, kept and written.
    path, keep = Path(os.path.realpath(module.params["path"])), Path(module.params["keep"])
    before = read(path)
    try:
        if module.params["state"] == "written":
            changed, ours, after = write(path, keep, content, module.check_mode), True, content
        else:
            back = undo if module.params["state"] == "undone" else restore
            changed, ours, after = back(path, keep, module.check_mode)
    except OSError as problem:
        module.fail_json(
            msg=f"{path}: {problem.strerror}; nothing was changed there; let root write it, and run again"
        )
    diff = {"prepared": changed_lines(path, before, after)}
    module.exit_json(changed=changed, ours=ours, kept=str(record_path(keep, path)), diff=diff)


if __name__ == "__main__":
    main()
