/* What is measured while contexts end, processes fork, and programs exit. */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>

#include "../src/lanes.h"
#include "computing.h"

static struct CUfunc_st lengthy = {40000000};
static struct CUstream_st stream;

static void start(void) { CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS); }

static void a_context_that_ends_takes_its_events_along(void) {
    start();
    CHECK(atomic_load(&lanes_running) == 1);
    device_time_closing(gpu.context);
    CHECK(launch(&lengthy, &stream) == CUDA_SUCCESS); /* of another thread meanwhile: it is not measured */
    CHECK(atomic_load(&lanes_running) == 1);
    uint64_t before = billed();
    synchronize(&stream);
    CHECK(billed() == before);
    device_time_closed(gpu.context, true);
    CHECK(atomic_load(&lanes_running) == 0);
    start();
    synchronize(&stream);
    CHECK(billed() > before);
}
static void what_has_ended_in_it_is_charged_before_it_ends(void) {
    start();
    gpu.now = stream.free_at;
    device_time_closing(gpu.context);
    CHECK(billed() > lengthy.ns - 1000);
    device_time_closed(gpu.context, true);
    CHECK(billed() < lengthy.ns + 1000);
}
static void the_context_ends(void) {
    device_time_closing(gpu.context);
    device_time_closed(gpu.context, true);
}
/* Who was about to launch in it has nothing in common with who launches in the next. */
static void a_launch_in_a_context_that_ends_meanwhile_is_not_measured(void) {
    int count;
    meter *of = meter_of(budget_all(&count));
    cost *what = cost_of("any", 1);
    bracket *late = device_time_begin(of, &stream, false, false);
    the_context_ends();
    bracket *next = device_time_begin(of, &stream, false, false);
    CHECK(late && next && next != late && device_time_end(next, &stream, what, 0, 0));
    int records = gpu.records;
    CHECK(!device_time_end(late, &stream, what, 0, 0) && gpu.records == records); /* its event is gone */
    synchronize(&stream);
    CHECK((late = device_time_begin(of, &stream, false, false)));
    gpu.recorded = the_context_ends;
    CHECK(!device_time_end(late, &stream, what, 0, 0));
    CHECK(atomic_load(&lanes_running) == 0);
}
static void a_context_that_did_not_end_goes_on(void) {
    start();
    device_time_closing(gpu.context);
    device_time_closed(gpu.context, false);
    synchronize(&stream);
    CHECK(billed() > 0 && atomic_load(&lanes_running) == 0);
}
static void other_contexts_are_left_alone(void) {
    start();
    device_time_closing((CUcontext) "another");
    device_time_closed((CUcontext) "another", true);
    device_time_closing(NULL);
    device_time_closed(NULL, true);
    synchronize(&stream);
    CHECK(billed() > 0);
}

/* What does not fit into the tables is billed as it is known. */
static void more_contexts_than_places(void) {
    static char contexts[2 * MOST_LANES];
    for (int i = 0; i < 2 * MOST_LANES; i++) {
        gpu.context = (CUcontext)&contexts[i];
        start();
        synchronize(&stream);
        CHECK(billed() > (uint64_t)i * (lengthy.ns - 1000));
    }
}
static void more_work_at_once_than_places(void) {
    static struct CUstream_st streams[2 * MOST_BRACKETS];
    for (int i = 0; i < 2 * MOST_BRACKETS; i++) CHECK(launch(&lengthy, &streams[i]) == CUDA_SUCCESS);
    CHECK(atomic_load(&lanes_running) == MOST_BRACKETS);
    synchronize(&streams[0]);
    synchronize(&streams[MOST_BRACKETS - 1]);
    CHECK(atomic_load(&lanes_running) == 0);
}

static void hours_of_work_are_measured_as_exactly_as_seconds(void) {
    struct CUfunc_st minute = {0};
    for (uint64_t i = 0; i < 3600; i++) {
        minute.ns = 1000000000 + i * 7919 % 1000 * 1000;
        uint64_t before = billed();
        CHECK(launch(&minute, &stream) == CUDA_SUCCESS);
        synchronize(&stream);
        CHECK(billed() - before > minute.ns - 10000 && billed() - before < minute.ns + 10000);
    }
}

static void the_child_of_a_fork_begins_anew(void) {
    start();
    launches_forked();
    CHECK(atomic_load(&lanes_running) == 0);
    start();
    synchronize(&stream);
    CHECK(billed() > 0);
}

/* The thread that reads: it says that it may look while streams capture, and sleeps between two looks. */
static void end_of_thread(void) {
    if (atomic_load(&lanes_running) == 0) pthread_exit(NULL);
}
static void the_thread_reads_what_has_ended_and_rests_until_there_is_more(void) {
    pthread_t thread;
    int count;
    meter *of = meter_of(budget_all(&count));
    start();
    CHECK(pthread_create(&thread, NULL, lanes_poll, NULL) == 0);
    while (atomic_load(&of->put_off) != PUT_OFF_MOST) sched_yield(); /* until the next is to be measured */
    pthread_mutex_lock(&lanes_mutex);                                /* and it waits */
    pthread_mutex_unlock(&lanes_mutex);
    uint64_t first = billed();
    CHECK(first > 0 && gpu.now >= stream.free_at);
    gpu.slept = end_of_thread;
    start();
    CHECK(pthread_join(thread, NULL) == 0 && billed() > first);
}

static void see_the_bill(void) {
    CHECK(billed() > 0 && atomic_load(&lanes_over));
    _exit(0);
}
static void what_has_ended_at_the_exit_is_billed(void) {
    atexit(see_the_bill); /* runs after the limiter's handler, which is registered later */
    start();
    gpu.now = stream.free_at;
}
static void look_again(void) {
    lanes_look();
    CHECK(billed() == 0);
    _exit(0);
}
static void the_exit_does_not_wait_for_who_looks(void) {
    atexit(look_again);
    start();
    gpu.now = stream.free_at;
    pthread_mutex_lock(&lanes_looking);
}
static void *look_though_cancelled(void *unused) {
    pthread_cancel(pthread_self());
    device_time_look();
    return unused;
}
static void a_thread_that_is_cancelled_does_not_end_while_it_looks(void) {
    pthread_t thread;
    if (!dlopen("libgcc_s.so.1", RTLD_LAZY)) return; /* without it no thread can be cancelled */
    start();
    CHECK(pthread_create(&thread, NULL, look_though_cancelled, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(pthread_mutex_trylock(&lanes_looking) == 0);
    pthread_mutex_unlock(&lanes_looking);
}

void test_contexts(void) {
    with_cores(100, a_context_that_ends_takes_its_events_along);
    with_cores(100, a_context_that_did_not_end_goes_on);
    with_cores(100, what_has_ended_in_it_is_charged_before_it_ends);
    with_cores(100, a_launch_in_a_context_that_ends_meanwhile_is_not_measured);
    with_cores(100, other_contexts_are_left_alone);
    with_cores(100, more_contexts_than_places);
    with_cores(100, more_work_at_once_than_places);
    with_cores(100, hours_of_work_are_measured_as_exactly_as_seconds);
    with_cores(100, the_child_of_a_fork_begins_anew);
    with_cores(100, the_thread_reads_what_has_ended_and_rests_until_there_is_more);
    with_cores(100, what_has_ended_at_the_exit_is_billed);
    with_cores(100, the_exit_does_not_wait_for_who_looks);
    with_cores(100, a_thread_that_is_cancelled_does_not_end_while_it_looks);
}
