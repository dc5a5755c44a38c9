/*
 * Runs a program that sees a folder through a file system which stops answering on
 * demand, as one of the network does when its server is gone.
 *
 *   cc -O1 -g -Wall -Wextra -Werror stalling_fs.c -o stalling_fs
 *   stalling_fs MOUNT_POINT FOLDER SWITCH PROGRAM ARGUMENTS...
 *
 * While a file called SWITCH exists no request is answered; the first that waits
 * makes a file called SWITCH.waiting. While a file called SWITCH.broken exists no write
 * and no flush to the disk succeeds: EIO, as of a broken disk. While SWITCH.shortage exists
 * no log can be opened: ENFILE, as where the machine has no more descriptors. (The kernel's
 * own limit is one for the whole machine, and root is exempt from it.) The mount is in a namespace of its own, so it
 * is gone with the program, whose status is ours. Without the right to mount or
 * without /dev/fuse the status is 77.
 *
 * No more than a reader of logs and its checkpoint need. A name keeps its node for good,
 * so nothing may be renamed while it is mounted.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT      77
#define MOST_NODES  4096
#define MOST_HELD   64
#define REQUEST     (64 * 1024)
#define LOOK_MS     5

static int device;
static char *nodes[MOST_NODES];   /* paths; node 1 is the first */
static size_t node_count;
static char *held[MOST_HELD];
static size_t held_count;
static char broken[4096];         /* SWITCH.broken */
static char shortage[4096];       /* SWITCH.shortage */

static void refuse(const char *what)
{
    perror(what);
    exit(CANNOT);
}

static void reply(uint64_t unique, int error, const void *data, size_t size)
{
    struct fuse_out_header head = { .len = (uint32_t) (sizeof(head) + size), .error = -error, .unique = unique };
    struct iovec parts[] = { { &head, sizeof(head) }, { (void *) data, size } };

    /* ENOENT: whoever asked was interrupted. */
    if (writev(device, parts, size > 0 ? 2 : 1) == -1 && errno != ENOENT) perror("a reply");
}

static const char *path_of(uint64_t node)
{
    return node >= 1 && node <= node_count ? nodes[node - 1] : "";
}

static uint64_t node_of(const char *path)
{
    for (size_t i = 0; i < node_count; i++) {
        if (strcmp(nodes[i], path) == 0) return i + 1;
    }
    if (node_count == MOST_NODES || (nodes[node_count] = strdup(path)) == NULL) abort();
    return ++node_count;
}

static struct fuse_attr describe(const struct stat *stat)
{
    return (struct fuse_attr) {
        .ino = stat->st_ino, .size = (uint64_t) stat->st_size, .blocks = (uint64_t) stat->st_blocks,
        .atime = (uint64_t) stat->st_atim.tv_sec, .atimensec = (uint32_t) stat->st_atim.tv_nsec,
        .mtime = (uint64_t) stat->st_mtim.tv_sec, .mtimensec = (uint32_t) stat->st_mtim.tv_nsec,
        .ctime = (uint64_t) stat->st_ctim.tv_sec, .ctimensec = (uint32_t) stat->st_ctim.tv_nsec,
        .mode = stat->st_mode, .nlink = (uint32_t) stat->st_nlink,
        .uid = stat->st_uid, .gid = stat->st_gid, .blksize = 4096,
    };
}

static void look_up(const struct fuse_in_header *in, const char *name)
{
    char path[4096];
    struct stat stat;
    struct fuse_entry_out out = { 0 };

    snprintf(path, sizeof(path), "%s/%s", path_of(in->nodeid), name);
    if (lstat(path, &stat) == -1) {
        reply(in->unique, errno, NULL, 0);
        return;
    }
    out.nodeid = node_of(path);
    out.attr = describe(&stat);
    reply(in->unique, 0, &out, sizeof(out));
}

static void tell_attributes(const struct fuse_in_header *in)
{
    struct stat stat;
    struct fuse_attr_out out = { 0 };

    if (lstat(path_of(in->nodeid), &stat) == -1) {
        reply(in->unique, errno, NULL, 0);
        return;
    }
    out.attr = describe(&stat);
    reply(in->unique, 0, &out, sizeof(out));
}

static void list(const struct fuse_in_header *in, const struct fuse_read_in *read)
{
    static char answer[REQUEST];
    size_t used = 0, number = 0, most = read->size < sizeof(answer) ? read->size : sizeof(answer);
    DIR *folder = opendir(path_of(in->nodeid));
    struct dirent *entry;

    if (folder == NULL) {
        reply(in->unique, errno, NULL, 0);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        size_t length = strlen(entry->d_name);
        struct fuse_dirent *out = (struct fuse_dirent *) (answer + used);

        if (number++ < read->offset) continue;
        if (used + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length) > most) break;
        *out = (struct fuse_dirent) {
            .ino = entry->d_ino, .off = number, .namelen = (uint32_t) length, .type = entry->d_type,
        };
        memcpy(out->name, entry->d_name, length);
        used += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
    }
    closedir(folder);
    reply(in->unique, 0, answer, used);
}

static void read_file(const struct fuse_in_header *in, const struct fuse_read_in *read)
{
    static char answer[1 << 20];
    size_t most = read->size < sizeof(answer) ? read->size : sizeof(answer);
    ssize_t count = pread((int) read->fh, answer, most, (off_t) read->offset);

    if (count == -1) {
        reply(in->unique, errno, NULL, 0);
    } else {
        reply(in->unique, 0, answer, (size_t) count);
    }
}

static void open_file(const struct fuse_in_header *in, const struct fuse_open_in *wanted)
{
    int file = open(path_of(in->nodeid), (int) (wanted->flags & O_ACCMODE) | O_CLOEXEC);
    /* Each read comes to us, so that one can stall. */
    struct fuse_open_out out = { .fh = (uint64_t) file, .open_flags = FOPEN_DIRECT_IO };

    if (file == -1) {
        reply(in->unique, errno, NULL, 0);
    } else {
        reply(in->unique, 0, &out, sizeof(out));
    }
}

static void create_file(const struct fuse_in_header *in, const struct fuse_create_in *create)
{
    const char *name = (const char *) (create + 1);
    char path[4096];
    struct stat stat;
    struct { struct fuse_entry_out entry; struct fuse_open_out file; } out = { 0 };
    int file;

    snprintf(path, sizeof(path), "%s/%s", path_of(in->nodeid), name);
    file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, create->mode & 07777);
    if (file == -1 || fstat(file, &stat) == -1) {
        reply(in->unique, errno, NULL, 0);
        return;
    }
    out.entry.nodeid = node_of(path);
    out.entry.attr = describe(&stat);
    out.file.fh = (uint64_t) file;
    out.file.open_flags = FOPEN_DIRECT_IO;
    reply(in->unique, 0, &out, sizeof(out));
}

static void write_file(const struct fuse_in_header *in, const struct fuse_write_in *write)
{
    ssize_t count = pwrite((int) write->fh, write + 1, write->size, (off_t) write->offset);
    struct fuse_write_out out = { .size = (uint32_t) count };

    if (count == -1) {
        reply(in->unique, errno, NULL, 0);
    } else {
        reply(in->unique, 0, &out, sizeof(out));
    }
}

static void remove_file(const struct fuse_in_header *in, const char *name)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", path_of(in->nodeid), name);
    reply(in->unique, unlink(path) == -1 ? errno : 0, NULL, 0);
}

static void begin(const struct fuse_in_header *in, const struct fuse_init_in *init)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION, .minor = init->minor < 31 ? init->minor : 31,
        .max_readahead = init->max_readahead, .max_write = 4096, .time_gran = 1,
    };

    reply(in->unique, 0, &out, sizeof(out));
}

static void serve(const char *request)
{
    const struct fuse_in_header *in = (const struct fuse_in_header *) request;
    const void *body = request + sizeof(*in);
    struct fuse_open_out folder = { 0 };
    struct fuse_statfs_out statfs = { .st = { .bsize = 4096, .namelen = 255 } };

    if (access(broken, F_OK) == 0 && (in->opcode == FUSE_WRITE || in->opcode == FUSE_FSYNC)) {
        reply(in->unique, EIO, NULL, 0);
        return;
    }
    if (in->opcode == FUSE_OPEN && access(shortage, F_OK) == 0 && strstr(path_of(in->nodeid), "-json.log") != NULL) {
        reply(in->unique, ENFILE, NULL, 0);
        return;
    }
    switch (in->opcode) {
    case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: break;
    case FUSE_INIT: begin(in, body); break;
    case FUSE_LOOKUP: look_up(in, body); break;
    case FUSE_GETATTR: tell_attributes(in); break;
    case FUSE_OPENDIR: reply(in->unique, 0, &folder, sizeof(folder)); break;
    case FUSE_READDIR: list(in, body); break;
    case FUSE_OPEN: open_file(in, body); break;
    case FUSE_CREATE: create_file(in, body); break;
    case FUSE_UNLINK: remove_file(in, body); break;
    case FUSE_READ: read_file(in, body); break;
    case FUSE_WRITE: write_file(in, body); break;
    case FUSE_FSYNC: reply(in->unique, 0, NULL, 0); break;
    case FUSE_STATFS: reply(in->unique, 0, &statfs, sizeof(statfs)); break;
    case FUSE_RELEASE: close((int) ((const struct fuse_release_in *) body)->fh); /* fall through */
    case FUSE_RELEASEDIR: case FUSE_FLUSH: case FUSE_DESTROY: reply(in->unique, 0, NULL, 0); break;
    default: reply(in->unique, ENOSYS, NULL, 0);
    }
}

/* Until the program has ended, and then its status. */
static int serve_until_end(pid_t program, const char *stall)
{
    static char request[REQUEST];
    char waiting[4096];
    int status;

    snprintf(waiting, sizeof(waiting), "%s.waiting", stall);
    snprintf(broken, sizeof(broken), "%s.broken", stall);
    snprintf(shortage, sizeof(shortage), "%s.shortage", stall);
    for (;;) {
        struct pollfd readable = { .fd = device, .events = POLLIN };
        bool stalls = access(stall, F_OK) == 0;
        ssize_t count = 0;

        while (!stalls && held_count > 0) {
            serve(held[--held_count]);
            free(held[held_count]);
        }
        if (poll(&readable, 1, LOOK_MS) == 1) count = read(device, request, sizeof(request));
        if (count > 0 && access(stall, F_OK) == 0) {
            if (held_count == MOST_HELD || (held[held_count] = malloc((size_t) count)) == NULL) abort();
            memcpy(held[held_count++], request, (size_t) count);
            close(open(waiting, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        } else if (count > 0) {
            serve(request);
        }
        if (waitpid(program, &status, WNOHANG) == program) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}

int main(int argc, char **argv)
{
    char options[100];
    pid_t program;

    if (argc < 5) {
        fprintf(stderr, "usage: stalling_fs MOUNT_POINT FOLDER SWITCH PROGRAM ARGUMENTS...\n");
        return 2;
    }
    if (unshare(CLONE_NEWNS) == -1) refuse("a mount namespace");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1) refuse("a private namespace");
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device == -1) refuse("/dev/fuse");
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
    if (mount("stalling", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) == -1) refuse("the mount");
    node_of(argv[2]);
    program = fork();
    if (program == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[4], argv + 4);
        refuse(argv[4]);
    }
    return program == -1 ? CANNOT : serve_until_end(program, argv[3]);
}
