"""A share for programs of the simulated driver, and how they end."""

import subprocess

from hami_dra.model import ledger
from tests.unit.native.simulated import A10

UUID = "GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf"
GIB = 1024**3
CONTEXT_MIB = 256
FOREVER = 3600
"""How long a program holds what it has: it is killed before, at the end of its test."""

CALLS = """
import ctypes, sys
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

cuda = ctypes.CDLL("libcuda.so.1")

def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    assert code == 0, (name, code)

def made(name, *arguments):
    handle = c_void_p()
    call(name, byref(handle), *arguments)
    return handle

def tell():
    print("told", flush=True)
    input()
"""
"""Begin of programs that call the driver, and stop for the test to look at what is held."""


def add_share(folder, name, memory, uuid=UUID, more=""):
    own = folder / name
    own.mkdir(parents=True)
    (own / "limits").write_text(f"version=1\nshare={name}\ndevice={uuid}\nmemory={memory}\ncores=50\n{more}")
    (own / "ledger").write_bytes(bytes(ledger.SIZE))
    return folder


def two_cards(folder):
    """The file of a simulated node with the guide's card and another; the other's UUID."""
    other = UUID[:-1] + "0"
    head, card = A10.read_text().split("gpus:\n")
    another = (
        card.replace(UUID, other).replace("0000:65:01.0", "0000:66:01.0").replace("minor: 0", "minor: 1")
    )
    cards = folder / "gpus.yaml"
    cards.write_text(f"{head}gpus:\n{card}{another}")
    return cards, other


def booked(shares, name="one"):
    """Bytes that the ledger of a share tells of the living."""
    return ledger.used((shares / name / "ledger").read_bytes())


def oracle(programs, state, cards=A10):
    """What the driver kept in STATE: the most that each group of processes held at any instant, then what is
    held of each card now."""
    done = subprocess.run([programs / "oracle", cards, state], capture_output=True, text=True, check=True)
    return [int(each) for each in done.stdout.split()]


def each_time_told(process, look):
    """What LOOK finds each time that a program of CALLS tells; it must end well, and without a word."""
    found = []
    while process.stdout.readline() == "told\n":
        found.append(look())
        process.stdin.write("\n")
        process.stdin.flush()
    assert ends(process) == (0, "", "")
    return found


def waits_for(process, text):
    """Read a process's output until it has said TEXT."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the process ended without saying {text!r}")


def ends(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err
