"""The generated messages are those of our .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# To make them anew: python -m grpc_tools.protoc -I src --python_out=src src/hami_dra/*/proto/*.proto
FILES = sorted(path.relative_to(SRC) for path in SRC.glob("hami_dra/*/proto/*.proto"))


@pytest.mark.parametrize("proto", FILES, ids=str)
def test_the_committed_messages_are_what_protoc_makes(proto: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SRC}", f"--python_out={tmp_path}"]
    subprocess.run([*command, str(SRC / proto)], check=True)
    made = proto.with_name(proto.name.replace(".proto", "_pb2.py"))
    assert (tmp_path / made).read_text() == (SRC / made).read_text()
