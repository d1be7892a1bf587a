"""Every entry point that is wrapped, in each of its versions, does what it is wrapped for."""

import pytest

from tests.unit.native.in_share import FOREVER, GIB, add_share, ends

pytestmark = pytest.mark.native

ELSEWHERE = {
    # test_loading.py
    "cuGetProcAddress",
    "cuGetProcAddress_v2",
    # test_limiter.py
    "nvmlDeviceGetProcessUtilization",
    "nvmlDeviceGetProcessesUtilizationInfo",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetRunningProcessDetailList",
    # their beginning, by all others
    "cuInit",
    "nvmlInit",
    "nvmlInit_v2",
    "nvmlInitWithFlags",
    # images are not read by the simulated driver, so nothing is found in them
    "cuModuleGetGlobal_v2",
    "cuLibraryGetGlobal",
    # native/tests/computing_captures.c, as the simulated driver is not so new
    "cuStreamBeginRecaptureToGraph",
    "cuStreamBeginRecaptureToGraph_ptsz",
    # graphics, which is not simulated; they share the body of cuCtxCreate
    "cuGLCtxCreate",
    "cuGLCtxCreate_v2",
    "cuVDPAUCtxCreate",
    "cuVDPAUCtxCreate_v2",
    # test_oversubscription.py
    "cuMemAdvise",
    "cuMemAdvise_v2",
    "cuMemPrefetchAsync",
    "cuMemPrefetchAsync_ptsz",
    "cuMemPrefetchAsync_v2",
    "cuMemPrefetchAsync_v2_ptsz",
    "cuMemPrefetchBatchAsync",
    "cuMemPrefetchBatchAsync_ptsz",
    "cuMemDiscardAndPrefetchBatchAsync",
    "cuMemDiscardAndPrefetchBatchAsync_ptsz",
    # test_shared_memory.py, test_held_memory.py
    "cuMemExportToShareableHandle",
    "cuMemImportFromShareableHandle",
    "cuMulticastCreate",
    "cuMulticastBindMem",
    "cuMulticastBindMem_v2",
    "cuMulticastBindAddr",
    "cuMulticastBindAddr_v2",
    "cuMulticastUnbind",
}


@pytest.mark.parametrize("loading", ["LAZY", "EAGER"])
def test_each_entry_point_counts_refuses_gives_back_or_tells_in_each_of_its_versions(
    tmp_path, limited, programs, loading
):
    shares = add_share(tmp_path / "shares", "one", 3 * GIB)
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    neighbour = limited(tmp_path / "none", "hami-fill", "--total", "1Gi", "--hold", FOREVER)
    while neighbour.stdout.readline() != "OK\n":
        assert neighbour.poll() is None
    arguments = (shares / "one" / "ledger", image)
    code, out, err = ends(limited(shares, programs / "hooks", *arguments, CUDA_MODULE_LOADING=loading))
    assert code == 0, err
    assert set(out.split()) <= ELSEWHERE
