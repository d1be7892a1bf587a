/*
 * Functions of libpthread and libdl, which glibc kept apart from libc until 2.34. To name these libraries
 * would load them into every program, most of which never call the driver. Whoever does has them, as the
 * driver needs them; so they are looked for at the first call. Everything else in here is linked to what is
 * defined below.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "libc_symbols.h"

/* A program that has the limiter linked in has them linked as well. */
#ifndef LINKED

#define LATE(result, name, parameters, arguments, otherwise)                                                 \
    result name parameters {                                                                                 \
        static _Atomic(void *) found;                                                                        \
        void *function = atomic_load_explicit(&found, memory_order_acquire);                                 \
        if (!function) atomic_store(&found, function = libc_symbol(#name));                                  \
        return function ? ((result(*) parameters)function)arguments : (otherwise);                           \
    }

/* Without threads. */
static int run_once(pthread_once_t *control, void (*routine)(void)) {
    if (*control != PTHREAD_ONCE_INIT) return 0;
    *control = PTHREAD_ONCE_INIT + 2; /* done, as glibc writes it */
    routine();
    return 0;
}

LATE(int, pthread_once, (pthread_once_t * control, void (*routine)(void)), (control, routine),
     run_once(control, routine))
LATE(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument),
     (thread, attributes, routine, argument), EAGAIN)
LATE(int, pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex), pthread_mutex_lock(mutex))
LATE(int, pthread_mutex_timedlock, (pthread_mutex_t * mutex, const struct timespec *until), (mutex, until),
     pthread_mutex_lock(mutex))
LATE(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *before), (how, set, before),
     sigprocmask(how, set, before))
LATE(int, dladdr, (const void *address, Dl_info *info), (address, info), 0)
LATE(char *, dlerror, (void), (), NULL)
LATE(int, dlinfo, (void *library, int what, void *into), (library, what, into), -1)
LATE(void *, dlmopen, (Lmid_t where, const char *path, int how), (where, path, how), NULL)
LATE(int, dlclose, (void *library), (library), 0)

/* glibc links this one into each program that names it, around what all its versions export; only some on
 * x86-64 export it as well. musl does. */
int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    int (*glibcs)(void (*)(void), void (*)(void), void (*)(void), void *) = libc_symbol("__register_atfork");
    int (*musls)(void (*)(void), void (*)(void), void (*)(void)) = libc_symbol("pthread_atfork");
    if (glibcs) return glibcs(prepare, parent, child, NULL);
    return musls ? musls(prepare, parent, child) : ENOSYS;
}

#endif
