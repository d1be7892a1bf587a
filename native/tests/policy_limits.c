/* Limits files. */
#include "../src/limits.h"
#include "policy.h"

static int parse(const char *text, limits *into, char *why) {
    return limits_parse(text, strlen(text), into, why, 128);
}

#define GOOD "version=1\nshare=s\ndevice=GPU-1\nmemory=1048576\n"

static void limits_are_read_as_written(void) {
    limits got;
    char why[128];
    CHECK(parse(GOOD, &got, why) == 0);
    CHECK(!strcmp(got.share, "s") && !strcmp(got.device, "GPU-1") && got.memory == MIB && got.cores == 0);
    CHECK(!got.oversubscribe && got.log_level == -1);
    CHECK(parse(GOOD "cores=50\noversubscribe=1\nlog_level=3\nunknown=whatever\n\n", &got, why) == 0);
    CHECK(got.cores == 50 && got.oversubscribe && got.log_level == 3 && !got.soft);
    CHECK(parse(GOOD "cores_policy=soft\n", &got, why) == 0 && got.soft);
    CHECK(parse(GOOD "cores_policy=hard\n", &got, why) == 0 && !got.soft);
    CHECK(parse("version=1\nshare=s\ndevice=GPU-1\nmemory=9223372036854775807", &got, why) == 0);
    CHECK(got.memory == INT64_MAX);
}

static void limits_that_are_not_clear_are_refused_with_the_line(void) {
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "not all given"},
        {"version=1\nshare=s\nmemory=5\n", "not all given"},
        {"version=2\nshare=s\ndevice=d\nmemory=5\n", "line 1: version"},
        {"version=1\nshare=\ndevice=d\nmemory=5\n", "line 2: share"},
        {"version=1\nshare=s\ndevice=d\nmemory=-5\n", "line 4: memory"},
        {"version=1\nshare=s\ndevice=d\nmemory=5k\n", "line 4: memory"},
        {"version=1\nshare=s\ndevice=d\nmemory=9223372036854775808\n", "line 4: memory"},
        {"version=1\nshare=s\ndevice=d\nmemory=99999999999999999999999\n", "line 4: memory"},
        {GOOD "cores=101\n", "line 5: cores"},
        {GOOD "oversubscribe=yes\n", "line 5: oversubscribe"},
        {GOOD "log_level=5\n", "line 5: log_level"},
        {GOOD "cores_policy=firm\n", "line 5: cores_policy"},
        {GOOD "no equals sign\n", "line 5 is not key=value"},
    };
    limits got;
    char why[128];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(parse(bad[i].text, &got, why) == -EINVAL);
        if (!strstr(why, bad[i].why)) fprintf(stderr, "%s\n", why);
        CHECK(strstr(why, bad[i].why));
    }
    char line[400] = GOOD "x=";
    memset(line + strlen(GOOD) + 2, 'y', 300);
    CHECK(parse(line, &got, why) == -EINVAL && strstr(why, "line 5 is too long"));
}

static void a_limits_file_that_cannot_be_read_says_so(void) {
    limits got;
    char why[128], large[5000];
    memset(large, '\n', sizeof large);
    write_file(in_folder("good"), GOOD, strlen(GOOD));
    CHECK(limits_read(in_folder("good"), &got, why, sizeof why) == 0 && got.memory == MIB);
    CHECK(limits_read(in_folder("none"), &got, why, sizeof why) == -ENOENT && strstr(why, "cannot be read"));
    write_file(in_folder("large"), large, sizeof large);
    CHECK(limits_read(in_folder("large"), &got, why, sizeof why) == -EIO && strstr(why, "too long"));
    CHECK(limits_read(in_folder(""), &got, why, sizeof why) == -EIO);
}

void test_limits(void) {
    limits_are_read_as_written();
    limits_that_are_not_clear_are_refused_with_the_line();
    a_limits_file_that_cannot_be_read_says_so();
}
