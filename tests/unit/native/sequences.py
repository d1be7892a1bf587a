"""A program of the simulated driver that makes calls at random, some for each line it reads, and tells them.

Only handles that are still good are used, as a driver need not bear others; refusals are part of it. Run as
`python -c PROGRAM SEED [CALL...]`, which makes only these; the line "end" has it give back all that there is.
"""

PROGRAM = """
import ctypes, os, random, sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

MIB = 1 << 20
cuda = ctypes.CDLL("libcuda.so.1")
chance = random.Random(int(sys.argv[1]))

class Location(ctypes.Structure):
    _fields_ = [("type", c_int), ("id", c_int)]

class PoolProperties(ctypes.Structure):
    _fields_ = [("kind", c_int), ("handles", c_int), ("at", Location)]
    _fields_ += [("windows", c_void_p), ("most", c_size_t), ("rest", ctypes.c_ubyte * 56)]

class Properties(ctypes.Structure):
    _fields_ = [("kind", c_int), ("handles", c_int), ("at", Location)]
    _fields_ += [("windows", c_void_p), ("flags", c_uint64)]

class Node(ctypes.Structure):
    _fields_ = [("pool", PoolProperties), ("access", c_void_p), ("accesses", c_size_t)]
    _fields_ += [("bytes", c_size_t), ("pointer", c_uint64)]

class Shape(ctypes.Structure):
    _fields_ = [("width", c_size_t), ("height", c_size_t), ("format", c_int), ("channels", ctypes.c_uint)]

def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    said.append(f"{name}={code}")
    return code == 0

def size():
    return chance.randint(1, 64) * chance.choice([512, 64 << 10, MIB, 16 * MIB]) - chance.randint(0, 1) * 100

def pages():
    return chance.randint(1, 64) * 2 * MIB

# What there is, by its kind; pointers, arrays and modules with the context that they end with.
contexts, greens, pointers, arrays, modules, pools, pooled, graphs = [], [], [], [], [], [], [], []
handles, mappings, descriptors = [], [], []
primary = []  # its handle, once for each time that it is retained
current = None
CARD = Location(1, 0)
IMAGE = bytearray(b"\\177ELF".ljust(64, b"\\0"))
IMAGE[40:48] = (2 * MIB).to_bytes(8, "little")  # where its sections are told, which is how large it is
IMAGE = bytes(IMAGE)

def some(kind):
    return chance.choice(kind) if kind else None

def use(context):
    global current
    if call("cuCtxSetCurrent", context[1] if context else None):
        current = context

def lives_in():
    if current and current[0] in ("primary", "green"):
        return "primary"
    return current[1].value if current else None

def ended(owner):
    global current
    pointers[:] = [each for each in pointers if each[1] != owner]
    arrays[:] = [each for each in arrays if each[1] != owner]
    modules[:] = [each for each in modules if each[1] != owner]
    if current and lives_in() == owner:
        use(None)

def allocate():
    at, pitch = c_uint64(), c_size_t()
    way = chance.randint(0, 3)
    if way < 2:
        done = call("cuMemAlloc_v2", byref(at), c_size_t(size()))
    elif way == 2:
        done = call("cuMemAllocManaged", byref(at), c_size_t(size()), 1)
    else:
        width, height = c_size_t(chance.randint(1, 5000)), c_size_t(chance.randint(1, 2000))
        done = call("cuMemAllocPitch_v2", byref(at), byref(pitch), width, height, 4)
    if done:
        pointers.append((at.value, lives_in()))

def free():
    each = some(pointers)
    if each and call("cuMemFree_v2", c_uint64(each[0])):
        pointers.remove(each)

def array():
    made = c_void_p()
    shape = Shape(chance.randint(1, 4000), chance.randint(1, 2000), 0x20, chance.choice([1, 2, 4]))
    if call("cuArrayCreate_v2", byref(made), byref(shape)):
        arrays.append((made.value, lives_in()))

def free_array():
    each = some(arrays)
    if each and call("cuArrayDestroy", c_void_p(each[0])):
        arrays.remove(each)

def context():
    made = c_void_p()
    if len(contexts) < 4 and call("cuCtxCreate_v2", byref(made), 0, 0):
        call("cuCtxPopCurrent_v2", None)  # one is current at most: the other is below it
        contexts.append(("own", made))

def destroy_context():
    each = some(contexts)
    if each:
        use(None)
        if call("cuCtxDestroy_v2", each[1]):
            contexts.remove(each)
            ended(each[1].value)

def retain():
    made = c_void_p()
    if call("cuDevicePrimaryCtxRetain", byref(made), 0):
        primary.append(("primary", made))

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
    made, its = c_void_p(), c_void_p()
    if len(greens) < 3 and call("cuGreenCtxCreate", byref(made), None, 0, 1):
        call("cuCtxFromGreenCtx", byref(its), made)
        greens.append(("green", its, made))

def destroy_green():
    each = some(greens)
    if each:
        use(None)
        if call("cuGreenCtxDestroy", each[2]):
            greens.remove(each)
        primary_left()

def switch():
    use(some(contexts + primary[:1] + greens))

def limit():
    call("cuCtxSetLimit", chance.randint(0, 2), c_size_t(chance.choice([1 << 10, 8 * MIB, size(), 4096])))

def pool():
    made = c_void_p()
    kind, place = chance.choice([(1, 1), (1, 1), (2, 0), (2, 1), (2, 2), (1, 2)])
    wanted = PoolProperties(kind, 0, Location(place, 0))
    if len(pools) < 4 and call("cuMemPoolCreate", byref(made), byref(wanted)):
        pools.append((made.value, kind, place))
        if chance.randint(0, 1):
            keep = c_uint64(chance.choice([2**64 - 1, 100 * MIB]))
            call("cuMemPoolSetAttribute", made, 4, byref(keep))

def destroy_pool():
    each = some(pools)
    if each and call("cuMemPoolDestroy", c_void_p(each[0])):
        pools.remove(each)

def default_pool():
    made = c_void_p()
    kind, place = chance.choice([(1, 1), (2, 0), (2, 1)])
    call("cuMemGetDefaultMemPool", byref(made), byref(Location(place, 0)), kind)
    return made

def from_pool():
    at, each = c_uint64(), some(pools)
    which = c_void_p(each[0]) if each and chance.randint(0, 3) else default_pool()
    if current and call("cuMemAllocFromPoolAsync", byref(at), c_size_t(size()), which, None):
        pooled.append(at.value)

def from_current():
    at = c_uint64()
    if current and call("cuMemAllocAsync", byref(at), c_size_t(size()), None):
        pooled.append(at.value)

def free_pooled():
    each = some(pooled)
    way = "cuMemFreeAsync" if chance.randint(0, 2) else "cuMemFree_v2"
    if each and current and call(way, c_uint64(each), None):
        pooled.remove(each)

def trim():
    each = some(pools)
    which = c_void_p(each[0]) if each and chance.randint(0, 1) else default_pool()
    call("cuMemPoolTrimTo", which, c_size_t(chance.choice([0, 0, 50 * MIB])))

def set_pool():
    each = some([each for each in pools if each[1:] == (1, 1)])
    if each:
        call("cuDeviceSetMemPool", 0, c_void_p(each[0]))

def wait():
    if current:
        call(chance.choice(["cuCtxSynchronize", "cuStreamSynchronize"]), None)

def graph():
    made, node, executable = c_void_p(), c_void_p(), c_void_p()
    if len(graphs) > 3 or not current or not call("cuGraphCreate", byref(made), 0):
        return
    for _ in range(chance.randint(1, 2)):
        wanted = Node(pool=PoolProperties(1, 0, CARD), bytes=size())
        call("cuGraphAddMemAllocNode", byref(node), made, None, c_size_t(0), byref(wanted))
    if call("cuGraphInstantiateWithFlags", byref(executable), made, c_uint64(0)):
        graphs.append((made, executable))
    else:
        call("cuGraphDestroy", made)

def launch():
    each = some(graphs)
    if each and current:
        call("cuGraphLaunch", each[1], None)

def destroy_graph():
    each = some(graphs)
    if each and call("cuGraphExecDestroy", each[1]):
        call("cuGraphDestroy", each[0])
        graphs.remove(each)

def trim_graphs():
    call("cuDeviceGraphMemTrim", 0)

def physical():
    made, bytes_ = c_uint64(), pages()
    if call("cuMemCreate", byref(made), c_size_t(bytes_), byref(Properties(1, 1, CARD)), c_uint64(0)):
        handles.append((made.value, bytes_))

def release_handle():
    each = some(handles)
    if each and call("cuMemRelease", c_uint64(each[0])):
        handles.remove(each)

def map_it():
    each, at = some(handles), c_uint64()
    zero = c_uint64(0)
    if not each:
        return
    call("cuMemAddressReserve", byref(at), c_size_t(each[1]), zero, zero, zero)
    if call("cuMemMap", at, c_size_t(each[1]), zero, c_uint64(each[0]), zero):
        mappings.append((at.value, each[1]))

def unmap():
    each = some(mappings)
    if each and call("cuMemUnmap", c_uint64(each[0]), c_size_t(each[1])):
        call("cuMemAddressFree", c_uint64(each[0]), c_size_t(each[1]))
        mappings.remove(each)

def retain_handle():
    each, made = some(mappings), c_uint64()
    if not each:
        return
    inside = c_void_p(each[0] + chance.randrange(each[1]))
    if call("cuMemRetainAllocationHandle", byref(made), inside):
        handles.append((made.value, each[1]))

def export():
    each, there = some(handles), c_int()
    if not each or len(descriptors) > 8:
        return
    if call("cuMemExportToShareableHandle", byref(there), c_uint64(each[0]), 1, c_uint64(0)):
        descriptors.append((there.value, each[1]))
        if chance.randint(0, 3) == 0:
            descriptors.append((os.dup(there.value), each[1]))

def import_it():
    each, made = some(descriptors), c_uint64()
    if each and call("cuMemImportFromShareableHandle", byref(made), c_void_p(each[0]), 1):
        handles.append((made.value, each[1]))

def close():
    each = some(descriptors)
    if each:
        os.close(each[0])
        descriptors.remove(each)
        said.append("close")

def work():
    "Some milliseconds, so that what is freed behind it is freed later."
    loaded = next((each for each in modules if each[1] == lives_in()), None)
    if current and not loaded:
        module, function = c_void_p(), c_void_p()
        if not call("cuModuleLoadData", byref(module), IMAGE):
            return
        call("cuModuleGetFunction", byref(function), module, b"busy_us_5000")
        loaded = (module, lives_in(), function)
        modules.append(loaded)
    if current:
        call("cuLaunchKernel", loaded[2], 1, 1, 1, 1, 1, 1, 0, None, None, None)

def fill():
    at = c_uint64()
    step = 256 * MIB
    got = []
    while step > MIB:
        if call("cuMemAlloc_v2", byref(at), c_size_t(step)):
            got.append(at.value)
        else:
            step //= 2
    for each in got:
        call("cuMemFree_v2", c_uint64(each))
    said[:] = [f"filled with {len(got)}"]

OPENS = [allocate, allocate, array, context, retain, green, limit, switch, switch, switch, work, work]
OPENS += [pool, from_pool, from_pool, from_current, set_pool, graph, launch]
OPENS += [physical, map_it, retain_handle, export, import_it]
CLOSES = [free, free, free_array, destroy_context, release, destroy_green, switch, wait]
CLOSES += [destroy_pool, free_pooled, free_pooled, trim, destroy_graph, trim_graphs]
CLOSES += [release_handle, unmap, close]
SELDOM = [reset, fill]
WANTED = set(sys.argv[2:])
STEPS = [each for each in OPENS * 20 + CLOSES * 10 + SELDOM * 10 if not WANTED or each.__name__ in WANTED]

def end():
    while descriptors:
        close()
    closing = [(mappings, unmap), (handles, release_handle), (graphs, destroy_graph), (pools, destroy_pool)]
    for kind, release_one in closing:
        while kind:
            release_one()
    trim_graphs()
    while pooled:
        call("cuMemFree_v2", c_uint64(pooled.pop()))
    for each in contexts + primary[:1] + greens[:1]:
        use(each)
        for kind, call_it in ((pointers, "cuMemFree_v2"), (arrays, "cuArrayDestroy")):
            for one in [one for one in kind if one[1] == lives_in()]:
                call(call_it, c_uint64(one[0]))
                kind.remove(one)
        for module in [each for each in modules if each[1] == lives_in()]:
            call("cuModuleUnload", module[0])
            modules.remove(module)
        call("cuCtxSynchronize")
    assert not pointers and not arrays, (pointers, arrays)
    while contexts:
        destroy_context()
    while primary:
        release()
    while greens:
        destroy_green()
    for kind, place in ((1, 1), (2, 0), (2, 1)):
        made = c_void_p()
        call("cuMemGetDefaultMemPool", byref(made), byref(Location(place, 0)), kind)
        call("cuMemPoolTrimTo", made, c_size_t(0))
    made = c_uint64()
    if call("cuMemCreate", byref(made), c_size_t(2 * MIB), byref(Properties(1, 1, CARD)), c_uint64(0)):
        call("cuMemRelease", made)

said = []
call("cuInit", 0)
for line in sys.stdin:
    said = []
    if line == "end\\n":
        end()
        print("ended", flush=True)
        continue
    step = chance.choice(STEPS)
    step()
    print(step.__name__, *said, flush=True)
"""
