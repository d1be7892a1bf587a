"""Contexts, and what ends with them."""

from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

from tests.unit.native.sequences.driver import MIB, call, card, chance, made, size, some

contexts, greens = [], []
"""Kind, handle and card; a green one has one more handle."""
attached = {}
"""How often each of the program's own was attached to, by its handle."""
primary = []
"""The same, once for each time that one is retained."""
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
        return f"primary {current[2]}"
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
    new, on = c_void_p(), card()
    if len(contexts) < 4 and call("cuCtxCreate_v2", byref(new), 0, on):
        call("cuCtxPopCurrent_v2", None)  # one is current at most: the other is below it
        contexts.append(("own", new, on))


def gone(each):
    contexts.remove(each)
    attached.pop(each[1].value, None)
    ended(each[1].value)


def destroy_context():
    each = some(contexts)
    if each:
        use(None)
        if call("cuCtxDestroy_v2", each[1]):
            gone(each)


def attach():
    if current in contexts and call("cuCtxAttach", byref(c_void_p()), 0):
        attached[current[1].value] = attached.get(current[1].value, 0) + 1


def detach():
    each = current
    if each in contexts and call("cuCtxDetach", each[1]):
        attached[each[1].value] = attached.get(each[1].value, 0) - 1
        if attached[each[1].value] < 0:
            gone(each)


def retain():
    new, on = c_void_p(), card()
    if call("cuDevicePrimaryCtxRetain", byref(new), on):
        primary.append(("primary", new, on))


def primary_left(on):
    flags, active = c_int(), c_int()
    call("cuDevicePrimaryCtxGetState", on, byref(flags), byref(active))
    if not active.value:
        primary[:] = [each for each in primary if each[2] != on]
        ended(f"primary {on}")


def release():
    each = some(primary)
    if each:
        use(None)
        if call("cuDevicePrimaryCtxRelease_v2", each[2]):
            primary.remove(each)
        primary_left(each[2])


def reset():
    each = some(primary)
    if each and not any(green[2] == each[2] for green in greens):
        use(None)
        call("cuDevicePrimaryCtxReset_v2", each[2])
        primary_left(each[2])


def green():
    on = card()
    new = made("cuGreenCtxCreate", None, on, 1) if len(greens) < 3 else None
    if new:
        its = c_void_p(made("cuCtxFromGreenCtx", c_void_p(new)))
        greens.append(("green", its, on, new))


def destroy_green():
    each = some(greens)
    if each:
        use(None)
        if call("cuGreenCtxDestroy", c_void_p(each[3])):
            greens.remove(each)
        primary_left(each[2])


def switch():
    use(some(contexts + primary + greens))


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
    for each in contexts + primary + greens:
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
SELDOM = [reset, attach, detach]
