# The simulated driver: two libraries, nvidia-smi and two sample workloads.
SIM_OUT    := $(OUT)/sim
SIM_COMMON := config fields paths state exported node error
SIM_CUDA   := $(SIM_COMMON) engine engine_run shared $(patsubst sim/%.c,%,$(wildcard sim/cuda_*.c))
SIM_NVML   := $(SIM_COMMON) $(patsubst sim/%.c,%,$(wildcard sim/nvml_*.c sim/mig_*.c))
SIM_SMI    := $(patsubst sim/%.c,%,$(wildcard sim/smi_*.c))
SIM_WORK   := work_driver
SIM_BINS   := $(addprefix $(SIM_OUT)/,libcuda.so.1 libnvidia-ml.so.1 nvidia-smi hami-fill hami-burn)
ALL        += $(SIM_BINS)

sim-objs = $(addprefix $(SIM_OUT)/obj/,$(addsuffix .o,$(1)))

$(SIM_OUT)/obj/%.o: sim/%.c flags.mk
	@mkdir -p $(@D)
	$(CC) $(BASE) $(CFLAGS) -c -o $@ $<

$(SIM_OUT)/libcuda.so.1: $(call sim-objs,$(SIM_CUDA)) sim/libcuda.map
	$(CC) -shared -Wl,-soname,libcuda.so.1 -Wl,--version-script=sim/libcuda.map -Wl,-Bsymbolic -Wl,-z,nodelete -Wl,-z,now \
	  $(CFLAGS) -o $@ $(filter %.o,$^) $(LDLIBS)

$(SIM_OUT)/libnvidia-ml.so.1: $(call sim-objs,$(SIM_NVML)) sim/libnvidia-ml.map
	$(CC) -shared -Wl,-soname,libnvidia-ml.so.1 -Wl,--version-script=sim/libnvidia-ml.map -Wl,-Bsymbolic -Wl,-z,nodelete -Wl,-z,now \
	  $(CFLAGS) -o $@ $(filter %.o,$^) $(LDLIBS)

$(SIM_OUT)/nvidia-smi: $(call sim-objs,$(SIM_SMI))
	$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)

$(SIM_OUT)/hami-%: $(call sim-objs,$(SIM_WORK)) $(SIM_OUT)/obj/work_%.o
	$(CC) $(CFLAGS) -o $@ $^ $(LDLIBS)

.SECONDARY:
.PHONY: sim test-sim
sim: $(SIM_BINS)
test-sim: release
	cd .. && $(abspath $(PYTHON)) -m pytest -q tests/unit/native/test_sim_*.py

-include $(wildcard $(SIM_OUT)/obj/*.d)
