# Programs that test the limiter, and the limiter built wrongly on purpose. They are made with the host's compiler, in
# a folder of their own: `make tests OUT=build/check CC=gcc`, which is what the tests in Python call.
TEST_OUT    := $(OUT)/tests
LEDGER      := src/ledger.c src/ledger_slots.c src/ledger_guard.c src/lock.c
POLICY      := $(LEDGER) src/limits.c src/budget.c src/charges.c src/physical.c src/physical_life.c src/exported.c src/background.c src/image.c src/code.c src/graph_nodes.c
COMPUTING   := src/throttle.c src/costs.c src/meter.c src/overlap.c src/turns.c src/lanes.c src/device_time.c src/device_time_read.c src/hook_launch.c src/hook_capture.c
TEST_BINS   := $(addprefix $(TEST_OUT)/,policy computing ledger-rivals ledger-survivors storm lookup arguments hooks forks unchanged stack races oracle)
TEST_DEPS   := $(wildcard tests/*.h src/*.h src/*.def include/*) flags.mk
TEST_CFLAGS := -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -Iinclude -DFAILPOINTS

# What must be caught where: in the ledger by itself, or by the simulated driver's oracle.
WRONG_LEDGERS  := CHECK_THEN_TAKE USED_BEFORE_PENDING KEEP_DEAD
WRONG_LIMITERS := CHARGE_AFTER REFUND_TWICE KEEP_REFUSED REFUND_MAPPED REFUND_BOUND REFUND_EXPORTED REFUND_POOLED FREE_MANAGED_POOL UNROUNDED FREE_CONTEXT FREE_CODE FREE_EXCESS

$(TEST_OUT)/policy: $(wildcard tests/policy*.c) $(POLICY) $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)
# In a time of its own, which passes when the test says so.
$(TEST_OUT)/computing: $(wildcard tests/computing*.c) $(COMPUTING) $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -Wl,--wrap=clock_gettime,--wrap=nanosleep -o $@ \
	  $(filter %.c,$^) $(LDLIBS)
$(TEST_OUT)/ledger-%: tests/ledger_%.c $(LEDGER) $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)

$(addprefix $(TEST_OUT)/,storm lookup arguments forks unchanged stack races): $(TEST_OUT)/%: tests/%.c $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)
$(TEST_OUT)/hooks: $(wildcard tests/hooks*.c) $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)
$(TEST_OUT)/storm: tests/storm_mapped.c
$(TEST_OUT)/storm-linked: tests/storm.c tests/storm_mapped.c $(wildcard src/*.c) $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -Wno-error=format-truncation -DLINKED -fvisibility=hidden \
	  -rdynamic -o $@ $(filter %.c,$^) $(LDLIBS)
$(TEST_OUT)/oracle: tests/oracle.c $(addprefix sim/,state.c exported.c config.c fields.c error.c) $(TEST_DEPS) $(wildcard sim/*.h)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)
# A wrong limiter differs in the few files that name what is wrong with it.
right = $(patsubst src/%.c,$(TEST_OUT)/right/%.o,$(1))
$(TEST_OUT)/right/%.o: src/%.c $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(BASE) -O2 -MF $(@:.o=.d) -c -o $@ $<
define wrong-limiter
$(TEST_OUT)/$(1)/libvgpu.so: $(2) $(call right,$(filter-out $(2),$(wildcard src/*.c))) src/libvgpu.map $(TEST_DEPS)
	@mkdir -p $$(@D)
	$(CC) $(BASE) -O2 -DWRONG_VARIANT=WRONG_$(1) -MF $$(@:.so=.d) -shared -Wl,--version-script=src/libvgpu.map -o $$@ \
	  $$(filter %.c %.o,$$^) $(LDLIBS)
TEST_BINS += $(TEST_OUT)/$(1)/libvgpu.so
endef
$(foreach wrong,$(WRONG_LIMITERS),$(eval $(call wrong-limiter,$(wrong),$(shell grep -l 'WRONG($(wrong))' src/*.c))))

define wrong-ledger
$(TEST_OUT)/$(1)/ledger-%: tests/ledger_%.c $(LEDGER) $(TEST_DEPS)
	@mkdir -p $$(@D)
	$(CC) $(TEST_CFLAGS) $(CFLAGS) -DWRONG_VARIANT=WRONG_$(1) -o $$@ $$(filter %.c,$$^) $(LDLIBS)
TEST_BINS += $(TEST_OUT)/$(1)/ledger-rivals $(TEST_OUT)/$(1)/ledger-survivors
endef
$(foreach wrong,$(WRONG_LEDGERS),$(eval $(call wrong-ledger,$(wrong))))

.PHONY: tests test-kills
test-kills: # the long version of what the suite does 100 times
	$(MAKE) --no-print-directory tests OUT=build/check CC=gcc
	build/check/tests/ledger-survivors 10000 build/check/kills.ledger
tests: same-compiler
	$(MAKE) --no-print-directory $(TEST_BINS)

# --- Longer looks: each builds anew in a folder of its own -------------------------------------------------------

.PHONY: test-sanitize test-coverage test-fuzz
test-sanitize: # address and undefined behaviour, then threads: policy, rivals, survivors, and all ways to allocate
	tests/sanitize address,undefined
	tests/sanitize thread

# What the policy files' own tests run through, each at least 95 % of its lines, those of computing in a time of their own.
# A fault that ends the program is not counted in ledger_guard.c, which is therefore left out.
test-coverage:
	rm -rf build/coverage && mkdir -p build/coverage/folder
	$(MAKE) --no-print-directory CC=gcc OUT=build/coverage CFLAGS="-O0 -g --coverage" build/coverage/tests/policy build/coverage/tests/computing
	build/coverage/tests/policy build/coverage/folder
	build/coverage/tests/computing
	cd build/coverage/tests && gcov -n *.gcda 2>/dev/null >report
	awk -F"[':%]" '/^File/ { file = $$2 } /^Lines/ && file ~ /^src/ && file !~ /guard/ { \
	  printf "%-16s %6.2f %%\n", file, $$2; if ($$2 + 0 < 95) low = 1 } END { exit low }' build/coverage/tests/report

FUZZ_SECONDS ?= 20
test-fuzz: # libFuzzer on the readers of limits and ledgers; Debian's clang, which is installed when it is missing
	command -v clang >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends clang libclang-rt-14-dev)
	@mkdir -p build/fuzz/corpus
	printf '\001version=1\nshare=s\ndevice=GPU-1\nmemory=1\ncores=50\n' >build/fuzz/corpus/limits
	clang -std=gnu11 -D_GNU_SOURCE -Iinclude -O1 -g -fsanitize=fuzzer,address,undefined -o build/fuzz/fuzz \
	  tests/fuzz.c src/limits.c $(LEDGER) -lpthread
	build/fuzz/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -dict=tests/limits.dict -artifact_prefix=build/fuzz/ \
	  -print_final_stats=1 -verbosity=1 build/fuzz/corpus
