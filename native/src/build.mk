# The limiter: one library without dependencies but the C library's own.
LIMITER_OUT  := $(OUT)/limiter
LIMITER_OBJS := $(patsubst src/%.c,$(LIMITER_OUT)/%.o,$(wildcard src/*.c))
ALL          += $(OUT)/libvgpu.so

# -O2 whatever the caller's CFLAGS: dlsym must end in a tail call. Its few thread-local words are there from the start,
# as it is preloaded: so it needs nothing of the loader that only glibc's has.
$(LIMITER_OUT)/%.o: src/%.c flags.mk
	@mkdir -p $(@D)
	$(CC) $(BASE) $(CFLAGS) -O2 -ftls-model=initial-exec -c -o $@ $<

# Every entry point of the driver is wrapped or passes for a reason.
$(OUT)/entry-points: src/entry_points.tsv src/hooks.def tools/entry_points.py
	$(PYTHON) tools/entry_points.py check
	@mkdir -p $(@D) && touch $@

$(OUT)/libvgpu.so: $(LIMITER_OBJS) src/libvgpu.map $(OUT)/entry-points
	$(CC) -shared -Wl,-soname,libvgpu.so -Wl,--version-script=src/libvgpu.map -Wl,-Bsymbolic -Wl,-z,now -Wl,-z,relro \
	  $(CFLAGS) -o $@ $(LIMITER_OBJS)

-include $(LIMITER_OBJS:.o=.d)
