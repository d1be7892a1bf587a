/*
 * unchanged [alone]: tells of itself what a preloaded library could change, does what programs do with
 * processes, and traces one (not alone, which emulators can do as well). What it says and how it ends must be
 * the same with and without the limiter. No CUDA; builds with any C library.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *self;

static void must(int condition, const char *what) {
    if (condition) return;
    perror(what);
    exit(99);
}

static int entries(const char *folder) {
    DIR *listing = opendir(folder);
    int count = 0;
    must(listing != NULL, folder);
    while (readdir(listing)) count++;
    closedir(listing);
    return count;
}

static void tell_state(void) {
    struct rlimit files;
    sigset_t blocked;
    mode_t mask = umask(0);
    umask(mask);
    getrlimit(RLIMIT_NOFILE, &files);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    printf("umask %o, %d descriptors, %d threads, limit %lu, errno %d\n", (unsigned)mask,
           entries("/proc/self/fd"), entries("/proc/self/task"), (unsigned long)files.rlim_cur, errno);
    for (int signal = 1; signal < 32; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) != 0) continue;
        const char *how = action.sa_handler == SIG_DFL   ? "default"
                          : action.sa_handler == SIG_IGN ? "ignored"
                                                         : "handled";
        printf("signal %d: %s%s\n", signal, how, sigismember(&blocked, signal) ? ", blocked" : "");
    }
}

static void tell_end(const char *what, pid_t child) {
    int status;
    must(waitpid(child, &status, 0) == child, what);
    if (WIFSIGNALED(status)) printf("%s: signal %d\n", what, WTERMSIG(status));
    if (WIFEXITED(status)) printf("%s: exit %d\n", what, WEXITSTATUS(status));
    fflush(stdout);
}

static void run_again(const char *how) {
    execl(self, self, how, (char *)NULL);
    _exit(98);
}

static void start_processes(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(entries("/proc/self/fd") > 0 ? 5 : 6);
    tell_end("fork", child);
    child = fork();
    if (child == 0) kill(getpid(), SIGSEGV);
    tell_end("fork, then a fault", child);
    child = fork();
    if (child == 0) run_again("ended");
    tell_end("fork and exec", child);
    child = vfork();
    if (child == 0) run_again("ended");
    tell_end("vfork and exec", child);
    printf("system: %d\n", WEXITSTATUS(system("exit 4")));
    char line[64] = "";
    FILE *pipe = popen("echo from a pipe", "r");
    must(pipe && fgets(line, sizeof line, pipe) != NULL, "popen");
    pclose(pipe);
    printf("%s", line);
}

/* As strace does it: from one system call to the next. */
static void trace(void) {
    fflush(stdout);
    pid_t child = fork();
    int status, stops = 0;
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        run_again("ended");
    }
    must(waitpid(child, &status, 0) == child && WIFSTOPPED(status), "trace");
    while (WIFSTOPPED(status)) {
        must(ptrace(PTRACE_SYSCALL, child, NULL, NULL) == 0, "PTRACE_SYSCALL");
        must(waitpid(child, &status, 0) == child, "traced");
        stops++;
    }
    printf("traced: %s, exit %d\n", stops > 10 ? "many calls" : "few calls", WEXITSTATUS(status));
}

static void leave(void) { printf("at the end\n"); }

int main(int argc, char **argv) {
    self = argv[0];
    if (argc > 1 && strcmp(argv[1], "ended") == 0) {
        printf("again\n");
        return 3;
    }
    atexit(leave);
    tell_state();
    if (argc == 1) {
        start_processes();
        trace();
    }
    fprintf(stderr, "said as an error\n");
    return 7;
}
