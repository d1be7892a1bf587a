"""The driver, chance, and what has been said.

Only handles that are still good are used, as a driver need not bear others; refusals are part of it.
"""

import ctypes
import random
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

MIB = 1 << 20

cuda = ctypes.CDLL("libcuda.so.1")
chance = random.Random()
said = []
"""The calls of the current step and what came of them."""


class Location(ctypes.Structure):
    _fields_ = (("type", c_int), ("id", c_int))


cards = [0]
"""The numbers of those that there are."""


def card():
    return chance.choice(cards)


def on_a_card():
    return Location(1, card())


class PoolProperties(ctypes.Structure):
    _fields_ = (
        *(("kind", c_int), ("handles", c_int), ("at", Location), ("windows", c_void_p)),
        *(("most", c_size_t), ("rest", ctypes.c_ubyte * 56)),
    )


def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    said.append(f"{name}={code}")
    return code == 0


def made(name, *arguments):
    """The handle or address that a call makes; None when it is refused."""
    handle = c_uint64()
    return handle.value if call(name, byref(handle), *arguments) else None


def some(kind):
    return chance.choice(kind) if kind else None


def size():
    """Bytes of an allocation, at times odd ones."""
    return chance.randint(1, 64) * chance.choice([512, 64 << 10, MIB, 16 * MIB]) - chance.randint(0, 1) * 100


def pages():
    """Bytes of physical memory."""
    return chance.randint(1, 64) * 2 * MIB
