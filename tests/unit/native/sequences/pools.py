"""Pools, created and default ones, and what is taken from them in the order of streams."""

from ctypes import byref, c_size_t, c_uint64, c_void_p

from tests.unit.native.sequences import contexts
from tests.unit.native.sequences.driver import (
    MIB,
    Location,
    PoolProperties,
    call,
    card,
    cards,
    chance,
    made,
    size,
    some,
)

DEFAULTS = [(1, 1), (2, 0), (2, 1)]
KINDS = [*DEFAULTS, (1, 1), (2, 2), (1, 2)]
"""Kind of memory and of place."""
PINNED, ON_A_CARD = 1, 1

pools, pooled = [], []


def pool():
    kind, place = chance.choice(KINDS)
    wanted = PoolProperties(kind, 0, Location(place, card() if place == ON_A_CARD else 0))
    new = made("cuMemPoolCreate", byref(wanted)) if len(pools) < 4 else None
    if new:
        pools.append((new, kind, place, wanted.at.id))
        if chance.randint(0, 1):
            keep = c_uint64(chance.choice([2**64 - 1, 100 * MIB]))
            call("cuMemPoolSetAttribute", c_void_p(new), 4, byref(keep))


def destroy_pool():
    each = some(pools)
    if each and call("cuMemPoolDestroy", c_void_p(each[0])):
        pools.remove(each)


def default_pool(kind, place, on):
    return made("cuMemGetDefaultMemPool", byref(Location(place, on if place == ON_A_CARD else 0)), kind)


def one_of_all(odds):
    """A pool of ours with these odds to one, or else a default one."""
    each = some(pools)
    known = each and chance.randint(0, odds)
    return c_void_p(each[0] if known else default_pool(*chance.choice(DEFAULTS), card()))


def from_pool():
    which = one_of_all(3)
    if contexts.current:
        at = made("cuMemAllocFromPoolAsync", c_size_t(size()), which, None)
        pooled.extend([at] if at else [])


def from_current():
    if contexts.current:
        at = made("cuMemAllocAsync", c_size_t(size()), None)
        pooled.extend([at] if at else [])


def free_pooled():
    each = some(pooled)
    way = "cuMemFreeAsync" if chance.randint(0, 2) else "cuMemFree_v2"
    if each and contexts.current and call(way, c_uint64(each), None):
        pooled.remove(each)


def trim():
    call("cuMemPoolTrimTo", one_of_all(1), c_size_t(chance.choice([0, 0, 50 * MIB])))


def set_pool():
    each = some([each for each in pools if each[1:3] == (PINNED, ON_A_CARD)])
    if each:
        call("cuDeviceSetMemPool", each[3], c_void_p(each[0]))


def end():
    while pools:
        destroy_pool()
    while pooled:
        call("cuMemFree_v2", c_uint64(pooled.pop()))


def trim_defaults():
    """What they keep of memory that is no longer used."""
    for on in cards:
        for each in DEFAULTS:
            call("cuMemPoolTrimTo", c_void_p(default_pool(*each, on)), c_size_t(0))


OPENS = [pool, from_pool, from_pool, from_current, set_pool]
CLOSES = [destroy_pool, free_pooled, free_pooled, trim]
SELDOM = []
