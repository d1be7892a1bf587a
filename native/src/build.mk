# The limiter: one library without dependencies but the C library's own.
LIMITER_OUT  := $(OUT)/limiter
LIMITER_OBJS := $(patsubst src/%.c,$(LIMITER_OUT)/%.o,$(wildcard src/*.c))
ALL          += $(OUT)/libvgpu.so

# -O2 whatever the caller's CFLAGS: dlsym must end in a tail call.
$(LIMITER_OUT)/%.o: src/%.c flags.mk
	@mkdir -p $(@D)
	$(CC) $(BASE) $(CFLAGS) -O2 -c -o $@ $<

$(OUT)/libvgpu.so: $(LIMITER_OBJS) src/libvgpu.map
	$(CC) -shared -Wl,-soname,libvgpu.so -Wl,--version-script=src/libvgpu.map -Wl,-z,now -Wl,-z,relro \
	  $(CFLAGS) -o $@ $(LIMITER_OBJS) $(LDLIBS)

-include $(LIMITER_OBJS:.o=.d)
