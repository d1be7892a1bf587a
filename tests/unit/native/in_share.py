"""A share for programs of the simulated driver, and how they end."""

from hami_dra.model import ledger

UUID = "GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf"
GIB = 1024**3
CONTEXT_MIB = 256


def add_share(folder, name, memory, uuid=UUID, more=""):
    own = folder / name
    own.mkdir(parents=True)
    (own / "limits").write_text(f"version=1\nshare={name}\ndevice={uuid}\nmemory={memory}\ncores=50\n{more}")
    (own / "ledger").write_bytes(bytes(ledger.SIZE))
    return folder


def ends(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err
