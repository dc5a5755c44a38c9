/*
 * Preloaded: while the file that NO_DESCRIPTORS names exists no log can be opened, for
 * the machine has no descriptors (ENFILE). The kernel's own limit is one for the whole
 * machine, and root is exempt from it, so a test cannot reach it otherwise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int open64(const char *path, int flags, ...)
{
    static int (*next)(const char *, int, mode_t);
    const char *none = getenv("NO_DESCRIPTORS");
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (next == NULL) *(void **) &next = dlsym(RTLD_NEXT, "open64");
    if (none != NULL && strstr(path, "-json.log") != NULL && access(none, F_OK) == 0) {
        errno = ENFILE;
        return -1;
    }
    return next(path, flags, mode);
}
