# Programs that test the limiter, and the limiter built wrongly on purpose. They are made with the host's compiler, in
# a folder of their own: `make tests OUT=build/check CC=gcc`, which is what the tests in Python call.
TEST_OUT    := $(OUT)/tests
POLICY      := src/ledger.c src/limits.c src/budget.c src/charges.c
TEST_BINS   := $(addprefix $(TEST_OUT)/,policy ledger-rivals ledger-survivors storm lookup arguments oracle)
TEST_DEPS   := $(wildcard tests/*.h src/*.h include/*) flags.mk
TEST_CFLAGS := -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -Iinclude -DFAILPOINTS

# What must be caught where: in the ledger by itself, or by the simulated driver's oracle.
WRONG_LEDGERS  := CHECK_THEN_TAKE USED_BEFORE_PENDING KEEP_DEAD
WRONG_LIMITERS := CHARGE_AFTER REFUND_TWICE KEEP_REFUSED REFUND_MAPPED REFUND_POOLED UNROUNDED FREE_CONTEXT

$(TEST_OUT)/policy: tests/policy.c $(POLICY) $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)
$(TEST_OUT)/ledger-%: tests/ledger_%.c src/ledger.c $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)

$(addprefix $(TEST_OUT)/,storm lookup arguments): $(TEST_OUT)/%: tests/%.c $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)
$(TEST_OUT)/oracle: tests/oracle.c $(addprefix sim/,state.c config.c fields.c error.c) $(TEST_DEPS) $(wildcard sim/*.h)
	@mkdir -p $(@D)
	$(CC) $(filter-out -DFAILPOINTS,$(TEST_CFLAGS)) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDLIBS)
$(TEST_OUT)/%/libvgpu.so: $(wildcard src/*.c) src/libvgpu.map $(TEST_DEPS)
	@mkdir -p $(@D)
	$(CC) $(BASE) -O2 -DWRONG_VARIANT=WRONG_$* -MF $(@:.so=.d) -shared -Wl,--version-script=src/libvgpu.map -o $@ \
	  $(filter %.c,$^) $(LDLIBS)
TEST_BINS += $(foreach wrong,$(WRONG_LIMITERS),$(TEST_OUT)/$(wrong)/libvgpu.so)

define wrong-ledger
$(TEST_OUT)/$(1)/ledger-%: tests/ledger_%.c src/ledger.c $(TEST_DEPS)
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
