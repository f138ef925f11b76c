/* A disk that fails, slows down or takes the process along: preloaded by the tests.
 *
 * Calls which change files below FAULTS_BELOW are counted, and locks on them, which are not. What
 * is to happen at which call is said by faults_arm(), or, for processes which nobody calls, by the
 * environment: FAULTS_KIND, FAULTS_AT, FAULTS_VALUE; while the file FAULTS_SWITCH is there, if one is
 * named. FAULTS_NAMES, if it is there, is a part of the names to which errors are limited.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { NOTHING, KILL, TEAR, FAIL, FAIL_ONCE, SLOW_SYNC, NO_LOCKS, LOCAL_LOCKS };
enum call { WRITE, SYNC, OTHER };

static int armed, first_call, value, calls, journal = -1;
static const char *below, *names, *onoff;

static const char *setting(const char *name, int *into) {
    const char *text = getenv(name);
    if (text && into) *into = atoi(text);
    return text && *text ? text : NULL;
}

__attribute__((constructor)) static void begin(void) {
    below = setting("FAULTS_BELOW", NULL);
    names = setting("FAULTS_NAMES", NULL);
    onoff = setting("FAULTS_SWITCH", NULL);
    setting("FAULTS_KIND", &armed);
    setting("FAULTS_AT", &first_call);
    setting("FAULTS_VALUE", &value);
}

void faults_arm(const char *folder, int kind, int at, int with) {
    below = strdup(folder);
    armed = kind, first_call = at, value = with, calls = 0;
}

int faults_calls(void) { return calls; }

/* From now on write down what is done to the files: for each call a line, which says what, with two
 * paths, a number, and the size of the data that follow. */
void faults_note_down(const char *file) { journal = open(file, O_WRONLY | O_CREAT | O_APPEND, 0600); }

static void write_down(char what, const char *one, const char *two, long number,
                       const void *data, size_t size) {
    if (journal < 0) return;
    char head[2 * PATH_MAX + 80];
    int length = snprintf(head, sizeof head, "%c %s\t%s\t%ld\t%zu\n", what, one, two, number, size);
    struct iovec parts[] = {{head, length}, {(void *)data, size}};
    (void)!writev(journal, parts, size ? 2 : 1);
}

static int concerns(const char *path) {
    return below && path && !strncmp(path, below, strlen(below)) && (!names || strstr(path, names));
}

static __thread char path[PATH_MAX + 1];  /* of the descriptor that fd_concerns() was given */

static int fd_concerns(int fd) {
    char link[64];
    if (!below || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0) return 0;
    path[length] = 0;
    return concerns(path);
}

static int is_on(void) { return armed && (!onoff || !access(onoff, F_OK)); }

static void die(void) { kill(getpid(), SIGKILL); pause(); }

/* Note a call before it is made; returns 1 if it is to fail, with errno set, and 2 if a write is to
 * stop in the middle. */
static int note(enum call call) {
    int number = __sync_add_and_fetch(&calls, 1);
    if (!is_on()) return 0;
    if (armed == KILL && number == first_call) die();
    if (armed == TEAR && number == first_call) {
        if (call == WRITE) return 2;
        die();
    }
    if ((armed == FAIL && number >= first_call) || (armed == FAIL_ONCE && number == first_call)) {
        errno = value;
        return 1;
    }
    if (armed == SLOW_SYNC && call == SYNC) {
        struct timespec pause = {value / 1000, value % 1000 * 1000000L};
        nanosleep(&pause, NULL);
    }
    return 0;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, #name)

#define WRITES(name, arguments, half, whole, where, ...) \
ssize_t name arguments { \
    REAL(ssize_t, name, __VA_ARGS__); \
    int ours = fd_concerns(fd), what = ours ? note(WRITE) : 0; \
    if (what == 1) return -1; \
    if (what == 2) { (void)!half; die(); } \
    if (ours) write_down('w', path, "", where, data, size); \
    return whole; \
}

WRITES(write, (int fd, const void *data, size_t size), real(fd, data, size / 2),
       real(fd, data, size), lseek(fd, 0, SEEK_CUR), int, const void *, size_t)
WRITES(pwrite, (int fd, const void *data, size_t size, off_t at), real(fd, data, size / 2, at),
       real(fd, data, size, at), at, int, const void *, size_t, off_t)
WRITES(pwrite64, (int fd, const void *data, size_t size, off64_t at), real(fd, data, size / 2, at),
       real(fd, data, size, at), at, int, const void *, size_t, off64_t)

#define CHANGES(name, arguments, concerned, call, result, what, one, two, number, ...) \
int name arguments { \
    REAL(int, name, __VA_ARGS__); \
    int ours = concerned; \
    if (ours && note(call) == 1) return -1; \
    int done = result; \
    if (ours && !done) write_down(what, one, two, number, NULL, 0); \
    return done; \
}

CHANGES(fsync, (int fd), fd_concerns(fd), SYNC, real(fd), 's', path, "", 0, int)
CHANGES(fdatasync, (int fd), fd_concerns(fd), SYNC, real(fd), 's', path, "", 0, int)
CHANGES(ftruncate, (int fd, off_t size), fd_concerns(fd), OTHER, real(fd, size),
        't', path, "", size, int, off_t)
CHANGES(ftruncate64, (int fd, off64_t size), fd_concerns(fd), OTHER, real(fd, size),
        't', path, "", size, int, off64_t)
CHANGES(unlink, (const char *name), concerns(name), OTHER, real(name),
        'u', name, "", 0, const char *)
CHANGES(mkdir, (const char *name, mode_t mode), concerns(name), OTHER, real(name, mode),
        'm', name, "", 0, const char *, mode_t)
CHANGES(rename, (const char *from, const char *to), concerns(to), OTHER, real(from, to),
        'r', from, to, 0, const char *, const char *)
CHANGES(link, (const char *from, const char *to), concerns(to), OTHER, real(from, to),
        'l', from, to, 0, const char *, const char *)

#define OPENS(name) \
int name(const char *file, int flags, ...) { \
    REAL(int, name, const char *, int, ...); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = va_arg(rest, mode_t); \
    va_end(rest); \
    int ours = flags & (O_CREAT | O_TRUNC) && concerns(file); \
    if (ours && note(OTHER) == 1) return -1; \
    int done = real(file, flags, mode); \
    if (ours && done >= 0) write_down('c', file, "", flags & O_TRUNC, NULL, 0); \
    return done; \
}
OPENS(open)
OPENS(open64)

#define LOCKS(name) \
int name(int fd, int command, ...) { \
    REAL(int, name, int, int, ...); \
    va_list rest; \
    va_start(rest, command); \
    void *argument = va_arg(rest, void *); \
    va_end(rest); \
    if (armed >= NO_LOCKS && (command == F_SETLK || command == F_SETLKW || command == F_GETLK) \
        && is_on() && fd_concerns(fd)) { \
        if (armed == NO_LOCKS) { errno = value; return -1; } \
        if (command == F_GETLK) ((struct flock *)argument)->l_type = F_UNLCK; \
        return 0; \
    } \
    return real(fd, command, argument); \
}
LOCKS(fcntl)
LOCKS(fcntl64)
