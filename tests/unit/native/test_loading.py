"""How the limiter comes into programs, finds the driver's functions, and leaves the rest as it was."""

import os
import shutil
import subprocess
import sys

import pytest

from hami_dra import native_files
from tests.unit.native.in_share import CONTEXT_MIB, GIB, ends
from tests.unit.native.simulated import ROOT

pytestmark = pytest.mark.native


def test_every_way_to_find_the_drivers_functions_ends_at_the_limiter(share, limited, programs):
    limiter = str(native_files.find("libvgpu.so"))
    code, out, err = ends(limited(share, str(programs / "lookup"), LIMITER=limiter))
    assert (code, out) == (0, "found\n"), err


def test_calls_that_are_wrong_empty_or_too_large_end_as_the_driver_ends_them(share, limited, programs):
    code, out, err = ends(limited(share, str(programs / "arguments")))
    assert (code, out) == (0, "as the driver\n"), err


def test_calls_in_the_child_of_a_fork_end_as_the_driver_ends_them_whatever_its_parent_was_doing(
    share, limited, programs
):
    code, out, err = ends(limited(share, str(programs / "forks")))
    assert (code, out) == (0, f"{CONTEXT_MIB} MiB are used\n"), err


def test_a_thread_needs_little_more_stack_than_the_driver_takes(share, limited, programs, tmp_path):
    (tmp_path / "none").mkdir()
    program = str(programs / "stack")
    _, plain, _ = ends(limited(tmp_path / "none", program, LD_PRELOAD=""))
    code, used, err = ends(limited(share, program))
    assert code == 0, err
    assert int(used) - int(plain) < 8 * 1024


def test_the_guides_lines_are_said_only_where_somebody_reads_them(share, limited):
    _, _, quiet = ends(limited(share, "nvidia-smi"))
    _, _, loud = ends(limited(share, "nvidia-smi", LIBCUDA_LOG_LEVEL="2"))
    assert quiet == ""
    first, second, third = loud.splitlines()
    assert first.startswith("[HAMI-core Msg(")
    assert first.endswith("]: Initializing.....")
    assert "Cleanup on exit for PID" in second
    assert "Exit cleanup complete for PID" in third


def test_a_program_without_a_gpu_is_not_changed(share, limited):
    script = "umask; ls /proc/self/fd | wc -l; echo said >&2; trap; exit 7"
    plain = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    code, out, err = ends(limited(share, "sh", "-c", script))
    assert (code, out, err) == (plain.returncode, plain.stdout, plain.stderr)


def test_a_program_that_tells_all_it_can_of_itself_starts_and_traces_others_tells_the_same(
    share, limited, programs
):
    program = programs / "unchanged"
    plain = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stderr) == (7, "said as an error\n")
    assert ends(limited(share, program)) == (plain.returncode, plain.stdout, plain.stderr)


needs_musl = pytest.mark.skipif(
    not shutil.which("musl-gcc"), reason="needs musl-gcc (Debian package musl-tools)"
)


@needs_musl
def test_a_program_of_another_c_library_runs_as_without_the_limiter(share, limited, tmp_path):
    program = tmp_path / "unchanged"
    source = ROOT / "native" / "tests" / "unchanged.c"
    subprocess.run(["musl-gcc", "-D_GNU_SOURCE", "-O1", "-o", program, source], check=True)
    plain = subprocess.run([program], capture_output=True, text=True, check=False)
    assert plain.returncode == 7, plain.stderr
    assert ends(limited(share, program)) == (plain.returncode, plain.stdout, plain.stderr)


@needs_musl
def test_a_program_of_another_c_library_that_is_preloaded_is_held_to_its_share(share, limited, tmp_path):
    """6 GiB of 10, 6 more, again after the first were freed, 3 in a child and after it."""
    source = ROOT / "native" / "tests" / "small_driver.c"
    driver, program = tmp_path / "libcuda.so.1", tmp_path / "program"
    subprocess.run(["musl-gcc", "-DDRIVER", "-shared", "-fPIC", "-o", driver, source], check=True)
    subprocess.run(["musl-gcc", "-o", program, source], check=True)
    where = {"LD_LIBRARY_PATH": str(tmp_path)}
    assert ends(limited(share, program, **where)) == (0, "0 0 2 0 0 0 0\n", "")
    assert ends(limited(tmp_path / "none", program, **where)) == (0, "0 0 0 0 0 0 0\n", "")


AS_IN_A_CONTAINER = """
set -e
umask 022
mount -t tmpfs none /mnt
cp -a /etc /mnt/etc
echo /run/libvgpu.so >/mnt/etc/ld.so.preload
mount --bind /mnt/etc /etc
cp -r "$SIM" /mnt/sim
cp "$LIMITER" /mnt/libvgpu.so
cp "$HAMI_SIM_FILE" /mnt/gpus.yaml
mkdir -p /mnt/hami/shares
mount --bind "$SHARES" /mnt/hami/shares
chmod 1777 /mnt
chmod 666 /mnt/hami/shares/one/ledger
chmod u+s /mnt/sim/hami-fill
mount --rbind /mnt /run
exec env -i HAMI_SIM_FILE=/run/gpus.yaml HAMI_SIM_STATE=/run/state "$@"
"""
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.mark.parametrize(
    "started_by",
    [
        (),
        ("sh", "-c", '"$0" "$@"'),
        ("env", "-i", "HAMI_SIM_FILE=/run/gpus.yaml"),
        AS_NOBODY,
        ("env", "HAMI_SHARES_DIR=/no/shares/here"),
    ],
    ids=[
        "without an environment",
        "a shell",
        "another empty environment",
        "set-user-id, by nobody",
        "another folder of shares",
    ],
)
def test_the_loaders_own_file_preloads_the_limiter_however_a_program_is_started(share, started_by):
    """In a mount namespace of its own, with /etc/ld.so.preload as in a container."""
    script = ["unshare", "--mount", "sh", "-c", AS_IN_A_CONTAINER, "sh", *started_by]
    done = subprocess.run(
        [*script, "/run/sim/hami-fill", "--total", "11Gi"],
        env={
            "PATH": os.environ["PATH"],
            "SIM": str(native_files.find("sim/libcuda.so.1").parent),
            "LIMITER": str(native_files.find("libvgpu.so")),
            "HAMI_SIM_FILE": "tests/guide/gpus-a10.yaml",
            "SHARES": str(share),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"allocated {10240 - CONTEXT_MIB} MiB" in done.stdout, done.stderr
    assert "refused: CUDA_ERROR_OUT_OF_MEMORY" in done.stdout


def test_symbols_for_the_next_library_are_found_as_without_the_limiter(share, limited):
    script = (
        "import ctypes; l = ctypes.CDLL(None); l.dlsym.restype = ctypes.c_void_p; "
        "l.dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]; "
        "print(bool(l.dlsym(ctypes.c_void_p(0), b'getpid')), bool(l.dlsym(ctypes.c_void_p(0), b'no_such')))"
    )
    code, out, err = ends(limited(share, sys.executable, "-c", script))
    assert (code, out.strip()) == (0, "True False"), err


def test_the_library_asks_for_no_glibc_newer_than_2_17():
    symbols = subprocess.run(
        ["objdump", "-T", native_files.find("libvgpu.so")], capture_output=True, text=True, check=True
    ).stdout
    versions = {
        tuple(int(part) for part in word.strip("()").removeprefix("GLIBC_").split("."))
        for line in symbols.splitlines()
        if "*UND*" in line
        for word in line.split()
        if word.strip("()").startswith("GLIBC_2")
    }
    assert max(versions) <= (2, 17)


DEEP = """
#include <dlfcn.h>
#include <stddef.h>
typedef int call(void *, ...);
#ifdef LINKED
extern call cuInit, cuDevicePrimaryCtxRetain, cuCtxSetCurrent, cuMemAlloc_v2;
static call *const takes = cuMemAlloc_v2;
#define FIND(name) name
#elif defined NEXT
#define FIND(name) ((call *)dlsym(RTLD_NEXT, #name))
#define takes FIND(cuMemAlloc_v2)
#else
#ifndef DRIVER
#define DRIVER dlopen("libcuda.so.1", RTLD_NOW)
#endif
static void *driver(void) {
    static void *opened;
    return opened ? opened : (opened = DRIVER);
}
#define FIND(name) ((call *)dlsym(driver(), #name))
#define takes FIND(cuMemAlloc_v2)
#endif
int take(size_t bytes) {
    void *context, *at;
    FIND(cuInit)(NULL), FIND(cuDevicePrimaryCtxRetain)(&context, 0), FIND(cuCtxSetCurrent)(context);
    return takes(&at, bytes) ? takes(&at, bytes) : 0;
}
"""
DEEPLY = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.dlopen.restype = ctypes.c_void_p
path, how, size = sys.argv[1].encode(), int(sys.argv[2]), int(sys.argv[3])
library = ctypes.CDLL(None, handle=libc.dlopen(path, how))
print(library.take(ctypes.c_size_t(size)))
"""


def library_of(path, source, *flags):
    """One that is linked to the driver where FLAGS say how it finds its functions."""
    driver = ("-Wl,--no-as-needed", native_files.find("sim/libcuda.so.1")) if flags else ()
    command = ["gcc", "-shared", "-fPIC", "-D_GNU_SOURCE", *flags, "-x", "c", "-o", path, "-", "-x", "none"]
    subprocess.run([*command, *driver, "-ldl"], input=source, text=True, check=True)
    return path


@pytest.mark.parametrize("how", [os.RTLD_LAZY, os.RTLD_NOW], ids=["lazily", "at once"])
@pytest.mark.parametrize("flags", [(), ("-DLINKED",), ("-DLINKED", "-fno-plt", "-Wl,-z,relro,-z,now")])
def test_a_library_that_binds_to_its_own_dependencies_first_is_held_to_the_share(
    share, limited, tmp_path, flags, how
):
    """As Taichi opens its own: with RTLD_DEEPBIND, past every preload."""
    library = library_of(tmp_path / "deep.so", DEEP, *flags)
    for size, refused in ((1 * GIB, 0), (11 * GIB, 2)):
        program = (sys.executable, "-c", DEEPLY, library, how | os.RTLD_DEEPBIND, size)
        assert ends(limited(share, *program)) == (0, f"{refused}\n", "")


def test_a_library_that_asks_for_the_next_function_behind_it_is_held_to_the_share(share, limited, tmp_path):
    """It comes behind the preload, so what is next for it is the driver's."""
    library = library_of(tmp_path / "next.so", DEEP, "-DNEXT")
    for size, refused in ((1 * GIB, 0), (11 * GIB, 2)):
        program = (sys.executable, "-c", DEEPLY, library, os.RTLD_NOW, size)
        assert ends(limited(share, *program)) == (0, f"{refused}\n", "")


def test_a_driver_that_is_opened_in_a_namespace_of_its_own_is_held_to_the_share(share, limited, tmp_path):
    inside = '-DDRIVER=dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW)'
    library = library_of(tmp_path / "inside.so", DEEP, inside)
    for size, refused in ((1 * GIB, 0), (11 * GIB, 2)):
        program = (sys.executable, "-c", DEEPLY, library, os.RTLD_NOW, size)
        assert ends(limited(share, *program)) == (0, f"{refused}\n", "")


@pytest.mark.parametrize(
    "flags",
    [("-fsanitize=thread",), ("-fsanitize=address", "-static-libasan"), ("-fsanitize=undefined",)],
    ids=["threads", "addresses", "undefined behaviour"],
)
def test_a_program_with_a_sanitizer_begins_and_is_held_to_its_share(share, limited, tmp_path, flags):
    """It looks up what it stands before, and has none of it yet when it asks us."""
    source = DEEP + "int main(void) { return take(11UL << 30); }"
    program = tmp_path / "program"
    command = ["gcc", "-D_GNU_SOURCE", *flags, "-x", "c", "-o", program, "-", "-ldl"]
    subprocess.run(command, input=source, text=True, check=True)
    # Some kernels place programs where these sanitizers do not expect them.
    begun = ("setarch", "--addr-no-randomize", program)
    assert ends(limited(share, *begun, LD_PRELOAD="", ASAN_OPTIONS="detect_leaks=0")) == (0, "", "")
    assert ends(limited(share, *begun, ASAN_OPTIONS="detect_leaks=0")) == (2, "", "")


TOOL = """
#include <dlfcn.h>
#include <stddef.h>
int calls;
int cuMemAlloc_v2(void *at, size_t bytes) {
    int (*next)(void *, size_t) = dlsym(RTLD_NEXT, "cuMemAlloc_v2");
    calls++;
    return next(at, bytes);
}
"""
TAKES_AS_LINKED = """
import ctypes
driver, program = ctypes.CDLL("libcuda.so.1", ctypes.RTLD_GLOBAL), ctypes.CDLL(None)
driver.cuInit(0), driver.cuCtxCreate_v2(ctypes.byref(ctypes.c_void_p()), 0, 0)
sizes = (6 << 30, 6 << 30)
print(*(program.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(each)) for each in sizes))
print(ctypes.c_int.in_dll(program, "calls").value)
"""


def test_a_tool_that_is_preloaded_before_the_limiter_hears_of_each_call_once(share, limited, tmp_path):
    tool = library_of(tmp_path / "tool.so", TOOL)
    with_tool = {
        "LD_PRELOAD": f"{tool.name} {native_files.find('libvgpu.so')}",
        "LD_LIBRARY_PATH": f"{tool.parent}:{native_files.find('sim/libcuda.so.1').parent}",
    }
    program = limited(share, sys.executable, "-c", TAKES_AS_LINKED, **with_tool)
    assert ends(program) == (0, "0 2\n2\n", "")


@pytest.mark.parametrize("how", [os.RTLD_NOW, os.RTLD_NOW | os.RTLD_DEEPBIND], ids=["plainly", "deeply"])
def test_a_library_finds_its_neighbour_by_bare_name_as_without_the_limiter(share, limited, tmp_path, how):
    """The loader looks in the run path of the library that calls dlopen."""
    compile_it = ["gcc", "-shared", "-fPIC", "-x", "c", "-Wl,-rpath,$ORIGIN", "-o"]
    subprocess.run([*compile_it, tmp_path / "neighbour.so", "-"], input="int there;", text=True, check=True)
    source = f'#include <dlfcn.h>\nint take(long x) {{ return !!dlopen("neighbour.so", {how}); }}'
    subprocess.run([*compile_it, tmp_path / "library.so", "-"], input=source, text=True, check=True)
    program = (sys.executable, "-c", DEEPLY, tmp_path / "library.so", os.RTLD_NOW, 0)
    assert ends(limited(share, *program)) == (0, "1\n", "")
