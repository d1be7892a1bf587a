"""The generated messages are those of our .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[3] / "src"
PROTO = Path("hami_dra/node/proto")

# To make them anew: python -m grpc_tools.protoc -I src --python_out=src src/hami_dra/node/proto/*.proto
FILES = sorted(path.name for path in (SRC / PROTO).glob("*.proto"))


@pytest.mark.parametrize("name", FILES)
def test_the_committed_messages_are_what_protoc_makes(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SRC}", f"--python_out={tmp_path}"]
    subprocess.run([*command, str(SRC / PROTO / name)], check=True)
    made = PROTO / name.replace(".proto", "_pb2.py")
    assert (tmp_path / made).read_text() == (SRC / made).read_text()
