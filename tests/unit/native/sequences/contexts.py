"""Contexts, and what ends with them."""

from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

from tests.unit.native.sequences.driver import MIB, call, chance, made, size, some

contexts, greens = [], []
primary = []  # its handle, once for each time that it is retained
current = None
NAMES = ("cuMemFree_v2", "cuArrayDestroy", "cuMipmappedArrayDestroy", "cuModuleUnload")
ends_with = {name: [] for name in NAMES}
"""What ends with contexts, by the call that ends it before: (handle, context, ...)."""


def use(context):
    global current
    if call("cuCtxSetCurrent", context[1] if context else None):
        current = context


def lives_in():
    """What is allocated now ends with this; None without a context."""
    if current and current[0] in ("primary", "green"):
        return "primary"
    return current[1].value if current else None


def here(kind):
    """Those of a kind that end with the current context."""
    return [each for each in kind if each[1] == lives_in()]


def ended(owner):
    for kind in ends_with.values():
        kind[:] = [each for each in kind if each[1] != owner]
    if current and lives_in() == owner:
        use(None)


def context():
    new = c_void_p()
    if len(contexts) < 4 and call("cuCtxCreate_v2", byref(new), 0, 0):
        call("cuCtxPopCurrent_v2", None)  # one is current at most: the other is below it
        contexts.append(("own", new))


def destroy_context():
    each = some(contexts)
    if each:
        use(None)
        if call("cuCtxDestroy_v2", each[1]):
            contexts.remove(each)
            ended(each[1].value)


def retain():
    new = c_void_p()
    if call("cuDevicePrimaryCtxRetain", byref(new), 0):
        primary.append(("primary", new))


def primary_left():
    flags, active = c_int(), c_int()
    call("cuDevicePrimaryCtxGetState", 0, byref(flags), byref(active))
    if not active.value:
        primary.clear()
        ended("primary")


def release():
    if primary:
        use(None)
        if call("cuDevicePrimaryCtxRelease_v2", 0):
            primary.pop()
        primary_left()


def reset():
    if primary and not greens:
        use(None)
        call("cuDevicePrimaryCtxReset_v2", 0)
        primary_left()


def green():
    new = made("cuGreenCtxCreate", None, 0, 1) if len(greens) < 3 else None
    if new:
        its = c_void_p(made("cuCtxFromGreenCtx", c_void_p(new)))
        greens.append(("green", its, new))


def destroy_green():
    each = some(greens)
    if each:
        use(None)
        if call("cuGreenCtxDestroy", c_void_p(each[2])):
            greens.remove(each)
        primary_left()


def switch():
    use(some(contexts + primary[:1] + greens))


def limit():
    call("cuCtxSetLimit", chance.randint(0, 2), c_size_t(chance.choice([1 << 10, 8 * MIB, size(), 4096])))


def wait():
    if current:
        call(chance.choice(["cuCtxSynchronize", "cuStreamSynchronize"]), None)


def free(name):
    """Ends something that ends with a context."""
    each = some(ends_with[name])
    if each and call(name, c_uint64(each[0])):
        ends_with[name].remove(each)


def end():
    for each in contexts + primary[:1] + greens[:1]:
        use(each)
        for name, kind in ends_with.items():
            for one in here(kind):
                call(name, c_uint64(one[0]))
                kind.remove(one)
        call("cuCtxSynchronize")
    assert not any(ends_with.values()), ends_with
    while contexts:
        destroy_context()
    while primary:
        release()
    while greens:
        destroy_green()


OPENS = [context, retain, green, limit, switch, switch, switch]
CLOSES = [destroy_context, release, destroy_green, switch, wait]
SELDOM = [reset]
