/* Memory behind pointers, pools, handles, arrays and graphs. */
#include "hooks.h"

enum { SIDE = 4096 };
static CUdeviceptr pointer;
static CUdeviceptr_v1 old_pointer;
static CUmemoryPool pool;
static CUmemGenericAllocationHandle handle, again;
static CUarray array;
static CUmipmappedArray mipmap;
static CUexternalMemory external;
static CUgraph graph;
static CUgraphExec executable;

TAKES(cuMemAlloc_v2, SIZE, CALL(cuMemAlloc_v2)(&pointer, SIZE), CALL(cuMemFree_v2)(pointer))
SEE(cuMemFree_v2, cuMemAlloc_v2)
TAKES(cuMemAllocManaged, SIZE, CALL(cuMemAllocManaged)(&pointer, SIZE, CU_MEM_ATTACH_GLOBAL),
      CALL(cuMemFree_v2)(pointer))
static size_t pitch;
TAKES(cuMemAllocPitch_v2, SIZE, CALL(cuMemAllocPitch_v2)(&pointer, &pitch, SIDE, SIZE / SIDE, 4),
      CALL(cuMemFree_v2)(pointer))
TAKES(cuMemAlloc, SIZE, CALL(cuMemAlloc)(&old_pointer, SIZE), CALL(cuMemFree)(old_pointer))
SEE(cuMemFree, cuMemAlloc)
static unsigned old_pitch;
TAKES(cuMemAllocPitch, SIZE, CALL(cuMemAllocPitch)(&old_pointer, &old_pitch, SIDE, SIZE / SIDE, 4),
      CALL(cuMemFree)(old_pointer))

static CUresult then(CUresult first, CUresult second) { return first ? first : second; }
static CUresult freed(cuMemFreeAsync_type release, cuStreamSynchronize_type wait) {
    CUresult result = release(pointer, stream);
    return then(result, wait(stream));
}
static CUresult async(void) { return CALL(cuMemAllocAsync)(&pointer, SIZE, stream); }
TAKES(cuMemAllocAsync, SIZE, async(), freed(CALL(cuMemFreeAsync), CALL(cuStreamSynchronize)))
TAKES(cuMemAllocAsync_ptsz, SIZE, CALL(cuMemAllocAsync_ptsz)(&pointer, SIZE, stream),
      freed(CALL(cuMemFreeAsync_ptsz), CALL(cuStreamSynchronize_ptsz)))
SEE(cuMemFreeAsync, cuMemAllocAsync)
SEE(cuMemFreeAsync_ptsz, cuMemAllocAsync_ptsz)
SEE(cuStreamSynchronize, cuMemAllocAsync)
SEE(cuStreamSynchronize_ptsz, cuMemAllocAsync_ptsz)
TAKES(cuCtxSynchronize, SIZE, async(), THEN(CALL(cuMemFreeAsync)(pointer, stream), CALL(cuCtxSynchronize)()))
TAKES(cuCtxSynchronize_v2, SIZE, async(),
      THEN(CALL(cuMemFreeAsync)(pointer, stream), CALL(cuCtxSynchronize_v2)(context)))
static CUresult wait_for_event(void) {
    CUevent event;
    CUresult (*create)(CUevent *, unsigned) = found("cuEventCreate");
    CUresult (*record)(CUevent, CUstream) = found("cuEventRecord");
    CUresult (*destroy)(CUevent) = found("cuEventDestroy_v2");
    CHECK(CALL(cuMemFreeAsync)(pointer, stream) == CUDA_SUCCESS && create(&event, 0) == CUDA_SUCCESS);
    CHECK(record(event, stream) == CUDA_SUCCESS);
    CUresult result = CALL(cuEventSynchronize)(event);
    return then(result, destroy(event));
}
TAKES(cuEventSynchronize, SIZE, async(), wait_for_event())

/* A pool of the program's, which keeps what is freed. */
static CUresult from_pool(cuMemAllocFromPoolAsync_type take) {
    static const CUmemPoolProps on_card = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                           .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUresult (*set)(CUmemoryPool, CUmemPool_attribute, void *) = found("cuMemPoolSetAttribute");
    uint64_t keep = UINT64_MAX;
    CHECK(CALL(cuMemPoolCreate)(&pool, &on_card) == CUDA_SUCCESS);
    CHECK(set(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep) == CUDA_SUCCESS);
    CUresult result = take(&pointer, SIZE, pool, stream);
    if (result != CUDA_SUCCESS) CHECK(CALL(cuMemPoolDestroy)(pool) == CUDA_SUCCESS);
    return result;
}
static CUresult kept(void) {
    CUresult result = from_pool(CALL(cuMemAllocFromPoolAsync));
    return result ? result : freed(CALL(cuMemFreeAsync), CALL(cuStreamSynchronize));
}
static CUresult trimmed(void) {
    uint64_t before = counted();
    CUresult result = CALL(cuMemPoolTrimTo)(pool, 0);
    CHECK_IT(counted() == before - SIZE);
    return then(result, CALL(cuMemPoolDestroy)(pool));
}
TAKES(cuMemAllocFromPoolAsync, SIZE, from_pool(CALL(cuMemAllocFromPoolAsync)),
      THEN(freed(CALL(cuMemFreeAsync), CALL(cuStreamSynchronize)), CALL(cuMemPoolDestroy)(pool)))
TAKES(cuMemAllocFromPoolAsync_ptsz, SIZE, from_pool(CALL(cuMemAllocFromPoolAsync_ptsz)),
      THEN(CALL(cuMemPoolDestroy)(pool), CALL(cuMemFree_v2)(pointer)))
TAKES(cuMemPoolDestroy, SIZE, kept(), CALL(cuMemPoolDestroy)(pool))
SEE(cuMemPoolCreate, cuMemPoolDestroy)
TAKES(cuMemPoolTrimTo, SIZE, kept(), trimmed())

/* The default pool of managed memory, which no card has. */
static CUmemLocation anywhere = {CU_MEM_LOCATION_TYPE_NONE, 0};
static CUresult managed_from(cuMemGetMemPool_type get) {
    CHECK(get(&pool, &anywhere, CU_MEM_ALLOCATION_TYPE_MANAGED) == CUDA_SUCCESS);
    return CALL(cuMemAllocFromPoolAsync)(&pointer, SIZE, pool, stream);
}
TAKES(cuMemGetDefaultMemPool, SIZE, managed_from(CALL(cuMemGetDefaultMemPool)),
      freed(CALL(cuMemFreeAsync), CALL(cuStreamSynchronize)))
TAKES(cuMemGetMemPool, SIZE, managed_from(CALL(cuMemGetMemPool)),
      freed(CALL(cuMemFreeAsync), CALL(cuStreamSynchronize)))

static const CUmemAllocationProp on_card = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                            .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
static CUresult created(void) { return CALL(cuMemCreate)(&handle, SIZE, &on_card, 0); }
static CUresult mapped(void) { /* and nothing else holds it */
    CUresult (*reserve)(CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long) =
        found("cuMemAddressReserve");
    CUresult result = created();
    if (result) return result;
    CHECK(reserve(&pointer, SIZE, 0, 0, 0) == CUDA_SUCCESS);
    result = CALL(cuMemMap)(pointer, SIZE, 0, handle, 0);
    return then(result, CALL(cuMemRelease)(handle));
}
static CUresult retained(void) {
    CUresult result = mapped();
    if (!result) result = CALL(cuMemRetainAllocationHandle)(&again, (void *)(uintptr_t)pointer);
    return result ? result : CALL(cuMemUnmap)(pointer, SIZE);
}
TAKES(cuMemCreate, SIZE, created(), CALL(cuMemRelease)(handle))
SEE(cuMemRelease, cuMemCreate)
TAKES(cuMemMap, SIZE, mapped(), CALL(cuMemUnmap)(pointer, SIZE))
SEE(cuMemUnmap, cuMemMap)

/* A sparse array alone holds what is mapped into it. */
static CUresult into_array(cuMemMapArrayAsync_type map) {
    static const CUDA_ARRAY3D_DESCRIPTOR sparse = {SIDE, SIZE / SIDE / 16,   0, CU_AD_FORMAT_FLOAT,
                                                   4,    CUDA_ARRAY3D_SPARSE};
    CUresult result = created();
    if (result) return result;
    CHECK(CALL(cuArray3DCreate_v2)(&array, &sparse) == CUDA_SUCCESS);
    CUarrayMapInfo whole = {.resource.array = array,
                            .memOperationType = CU_MEM_OPERATION_TYPE_MAP,
                            .memHandle.memHandle = handle,
                            .deviceBitMask = 1};
    result = map(&whole, 1, stream);
    return then(result, CALL(cuMemRelease)(handle));
}
TAKES(cuMemMapArrayAsync, SIZE, into_array(CALL(cuMemMapArrayAsync)), CALL(cuArrayDestroy)(array))
TAKES(cuMemMapArrayAsync_ptsz, SIZE, into_array(CALL(cuMemMapArrayAsync_ptsz)), CALL(cuArrayDestroy)(array))
TAKES(cuMemRetainAllocationHandle, SIZE, retained(), CALL(cuMemRelease)(again))

static const CUDA_ARRAY_DESCRIPTOR flat = {SIDE, SIZE / SIDE / 8, CU_AD_FORMAT_UNORM_INT16X4, 4};
static const CUDA_ARRAY3D_DESCRIPTOR deep = {SIDE / 4, SIZE / SIDE / 16, 4, CU_AD_FORMAT_FLOAT, 4, 0};
static const CUDA_ARRAY_DESCRIPTOR_v1 old_flat = {SIDE, SIZE / SIDE / 4, CU_AD_FORMAT_SNORM_INT8X4, 4};
static const CUDA_ARRAY3D_DESCRIPTOR_v1 old_deep = {SIDE / 4, SIZE / SIDE / 16, 4, CU_AD_FORMAT_FLOAT, 4, 0};
TAKES(cuArrayCreate_v2, SIZE, CALL(cuArrayCreate_v2)(&array, &flat), CALL(cuArrayDestroy)(array))
TAKES(cuArray3DCreate_v2, SIZE, CALL(cuArray3DCreate_v2)(&array, &deep), CALL(cuArrayDestroy)(array))
TAKES(cuArrayCreate, SIZE, CALL(cuArrayCreate)(&array, &old_flat), CALL(cuArrayDestroy)(array))
TAKES(cuArray3DCreate, SIZE, CALL(cuArray3DCreate)(&array, &old_deep), CALL(cuArrayDestroy)(array))
SEE(cuArrayDestroy, cuArrayCreate_v2)
static CUresult mipmapped(void) {
    uint64_t before = counted();
    if (CALL(cuMipmappedArrayCreate)(&mipmap, &deep, 1) == CUDA_SUCCESS) {
        CHECK_IT(counted() == before + SIZE); /* all levels are one */
        CHECK(CALL(cuMipmappedArrayDestroy)(mipmap) == CUDA_SUCCESS);
    }
    return CALL(cuMipmappedArrayCreate)(&mipmap, &deep, 4);
}
TAKES(cuMipmappedArrayCreate, 2 * SIZE, mipmapped(), CALL(cuMipmappedArrayDestroy)(mipmap))
SEE(cuMipmappedArrayDestroy, cuMipmappedArrayCreate)
static const CUDA_EXTERNAL_MEMORY_HANDLE_DESC foreign = {.type = 1, .size = SIZE};
TAKES(cuImportExternalMemory, SIZE, CALL(cuImportExternalMemory)(&external, &foreign),
      CALL(cuDestroyExternalMemory)(external))
SEE(cuDestroyExternalMemory, cuImportExternalMemory)

static CUdeviceptr allocated;
static CUgraph allocating(void) {
    CUresult (*create)(CUgraph *, unsigned) = found("cuGraphCreate");
    CUresult (*add)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUDA_MEM_ALLOC_NODE_PARAMS *) =
        found("cuGraphAddMemAllocNode");
    CUDA_MEM_ALLOC_NODE_PARAMS parameters = {.bytesize = SIZE,
                                             .poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUgraphNode node;
    CHECK(create(&graph, 0) == CUDA_SUCCESS && add(&node, graph, NULL, 0, &parameters) == CUDA_SUCCESS);
    allocated = parameters.dptr;
    return graph;
}
static CUresult destroyed(void) { return CALL(cuGraphExecDestroy)(executable); }
static CUDA_GRAPH_INSTANTIATE_PARAMS how;
TAKES(cuGraphInstantiate, SIZE, CALL(cuGraphInstantiate)(&executable, allocating(), NULL, NULL, 0),
      destroyed())
TAKES(cuGraphInstantiate_v2, SIZE, CALL(cuGraphInstantiate_v2)(&executable, allocating(), NULL, NULL, 0),
      destroyed())
TAKES(cuGraphInstantiateWithFlags, SIZE, CALL(cuGraphInstantiateWithFlags)(&executable, allocating(), 0),
      destroyed())
TAKES(cuGraphInstantiateWithParams, SIZE, CALL(cuGraphInstantiateWithParams)(&executable, allocating(), &how),
      destroyed())
TAKES(cuGraphInstantiateWithParams_ptsz, SIZE,
      CALL(cuGraphInstantiateWithParams_ptsz)(&executable, allocating(), &how), destroyed())
SEE(cuGraphExecDestroy, cuGraphInstantiate)
static CUresult launched_and_destroyed(void) { /* the driver keeps its memory */
    CUresult result = CALL(cuGraphInstantiateWithFlags)(&executable, allocating(), 0);
    if (!result) result = CALL(cuGraphLaunch)(executable, stream);
    if (!result) result = CALL(cuMemFree_v2)(allocated);
    return result ? result : destroyed();
}
TAKES(cuDeviceGraphMemTrim, SIZE, launched_and_destroyed(), CALL(cuDeviceGraphMemTrim)(0))
