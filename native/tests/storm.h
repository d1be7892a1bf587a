/* The parts of the program `storm`: the driver's functions, and the ways to allocate. */
#pragma once

#include "../include/cuda_abi.h"
#include "check.h"

#define FUNCTIONS                                                                                            \
    F(cuInit, cuInit, (unsigned))                                                                            \
    F(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                           \
    F(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice))                                   \
    F(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext))                                                         \
    F(cuCtxPopCurrent, cuCtxPopCurrent_v2, (CUcontext *))                                                    \
    F(cuCtxSynchronize, cuCtxSynchronize, (void))                                                            \
    F(cuCtxCreate, cuCtxCreate_v2, (CUcontext *, unsigned, CUdevice))                                        \
    F(cuCtxDestroy, cuCtxDestroy_v2, (CUcontext))                                                            \
    F(cuGreenCtxCreate, cuGreenCtxCreate, (CUgreenCtx *, CUdevResourceDesc, CUdevice, unsigned))             \
    F(cuGreenCtxDestroy, cuGreenCtxDestroy, (CUgreenCtx))                                                    \
    F(cuCtxSetLimit, cuCtxSetLimit, (int, size_t))                                                           \
    F(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                    \
    F(cuMemAllocManaged, cuMemAllocManaged, (CUdeviceptr *, size_t, unsigned))                               \
    F(cuMemAllocPitch, cuMemAllocPitch_v2, (CUdeviceptr *, size_t *, size_t, size_t, unsigned))              \
    F(cuMemFree, cuMemFree_v2, (CUdeviceptr))                                                                \
    F(cuMemAllocAsync, cuMemAllocAsync, (CUdeviceptr *, size_t, CUstream))                                   \
    F(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync_ptsz,                                                 \
      (CUdeviceptr *, size_t, CUmemoryPool, CUstream))                                                       \
    F(cuMemFreeAsync, cuMemFreeAsync, (CUdeviceptr, CUstream))                                               \
    F(cuMemPoolCreate, cuMemPoolCreate, (CUmemoryPool *, const CUmemPoolProps *))                            \
    F(cuMemGetDefaultMemPool, cuMemGetDefaultMemPool,                                                        \
      (CUmemoryPool *, CUmemLocation *, CUmemAllocationType))                                                \
    F(cuMemPoolDestroy, cuMemPoolDestroy, (CUmemoryPool))                                                    \
    F(cuMemPoolTrimTo, cuMemPoolTrimTo, (CUmemoryPool, size_t))                                              \
    F(cuMemPoolSetAttribute, cuMemPoolSetAttribute, (CUmemoryPool, CUmemPool_attribute, void *))             \
    F(cuDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool, (CUmemoryPool *, CUdevice))                      \
    F(cuStreamCreate, cuStreamCreate, (CUstream *, unsigned))                                                \
    F(cuStreamSynchronize, cuStreamSynchronize, (CUstream))                                                  \
    F(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream, CUstreamCaptureMode))                        \
    F(cuStreamEndCapture, cuStreamEndCapture, (CUstream, CUgraph *))                                         \
    F(cuMemCreate, cuMemCreate,                                                                              \
      (CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long))             \
    F(cuMemRelease, cuMemRelease, (CUmemGenericAllocationHandle))                                            \
    F(cuMemAddressReserve, cuMemAddressReserve,                                                              \
      (CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long))                                      \
    F(cuMemAddressFree, cuMemAddressFree, (CUdeviceptr, size_t))                                             \
    F(cuMemMap, cuMemMap, (CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long))   \
    F(cuMemUnmap, cuMemUnmap, (CUdeviceptr, size_t))                                                         \
    F(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle *, void *))    \
    F(cuMemExport, cuMemExportToShareableHandle,                                                             \
      (int *, CUmemGenericAllocationHandle, CUmemAllocationHandleType, unsigned long long))                  \
    F(cuMemImport, cuMemImportFromShareableHandle,                                                           \
      (CUmemGenericAllocationHandle *, void *, CUmemAllocationHandleType))                                   \
    F(cuDeviceGetAttribute, cuDeviceGetAttribute, (int *, int, CUdevice))                                    \
    F(cuMulticastCreate, cuMulticastCreate, (CUmemGenericAllocationHandle *, const CUmulticastObjectProp *)) \
    F(cuMulticastAddDevice, cuMulticastAddDevice, (CUmemGenericAllocationHandle, CUdevice))                  \
    F(cuMulticastBindMem, cuMulticastBindMem,                                                                \
      (CUmemGenericAllocationHandle, size_t, CUmemGenericAllocationHandle, size_t, size_t,                   \
       unsigned long long))                                                                                  \
    F(cuMulticastBindAddr, cuMulticastBindAddr_v2,                                                           \
      (CUmemGenericAllocationHandle, CUdevice, size_t, CUdeviceptr, size_t, unsigned long long))             \
    F(cuMulticastUnbind, cuMulticastUnbind, (CUmemGenericAllocationHandle, CUdevice, size_t, size_t))        \
    F(cuArray3DCreate, cuArray3DCreate_v2, (CUarray *, const CUDA_ARRAY3D_DESCRIPTOR *))                     \
    F(cuArrayDestroy, cuArrayDestroy, (CUarray))                                                             \
    F(cuMipmappedArrayCreate, cuMipmappedArrayCreate,                                                        \
      (CUmipmappedArray *, const CUDA_ARRAY3D_DESCRIPTOR *, unsigned))                                       \
    F(cuMipmappedArrayDestroy, cuMipmappedArrayDestroy, (CUmipmappedArray))                                  \
    F(cuGraphCreate, cuGraphCreate, (CUgraph *, unsigned))                                                   \
    F(cuGraphDestroy, cuGraphDestroy, (CUgraph))                                                             \
    F(cuGraphAddMemAllocNode, cuGraphAddMemAllocNode,                                                        \
      (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUDA_MEM_ALLOC_NODE_PARAMS *))                   \
    F(cuGraphInstantiate, cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long))         \
    F(cuGraphLaunch, cuGraphLaunch, (CUgraphExec, CUstream))                                                 \
    F(cuGraphExecDestroy, cuGraphExecDestroy, (CUgraphExec))                                                 \
    F(cuDeviceGraphMemTrim, cuDeviceGraphMemTrim, (CUdevice))                                                \
    F(cuImportExternalMemory, cuImportExternalMemory,                                                        \
      (CUexternalMemory *, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *))                                        \
    F(cuDestroyExternalMemory, cuDestroyExternalMemory, (CUexternalMemory))                                  \
    F(cuModuleLoadData, cuModuleLoadData, (CUmodule *, const void *))                                        \
    F(cuModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                      \
    F(cuModuleUnload, cuModuleUnload, (CUmodule))                                                            \
    F(cuLibraryLoadData, cuLibraryLoadData,                                                                  \
      (CUlibrary *, const void *, int *, void **, unsigned, int *, void **, unsigned))                       \
    F(cuLibraryGetKernel, cuLibraryGetKernel, (CUkernel *, CUlibrary, const char *))                         \
    F(cuLibraryGetModule, cuLibraryGetModule, (CUmodule *, CUlibrary))                                       \
    F(cuLibraryUnload, cuLibraryUnload, (CUlibrary))                                                         \
    F(cuLaunchKernel, cuLaunchKernel,                                                                        \
      (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **,  \
       void **))

/* The limiter, linked into the same program, defines functions of these names. */
#define F(name, symbol, parameters) extern CUresult(*name) parameters __asm__("storm_" #name);
FUNCTIONS
#undef F

/* One allocation of some kind, and how to free it again. */
struct held {
    void (*free)(struct held *);
    unsigned long long a, b, c;
};

unsigned random_below(unsigned most);
size_t random_pages(void);

/* True when it was granted; anything but a clean refusal ends the test. */
bool granted(CUresult result);
void well(CUresult result);

/* storm_mapped.c */
void mapping(struct held *h);
void exported(struct held *h);
void multicast(struct held *h);

/* With any release the limiter sees which descriptors were closed; without one, a moment later. */
void look_at_descriptors(void);
