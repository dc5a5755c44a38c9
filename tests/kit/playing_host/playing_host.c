/*
 * Plays the Fluent Bit host for one plugin, for tests on machines without
 * Fluent Bit. It exports the host's functions, loads the shared object as the
 * host does and obeys a script, so that a test can drive it in lock-step.
 *
 *   cc -O1 -g -Wall -Wextra -Werror -rdynamic -DGENERATION=30|32|51 \
 *      -DOPTION_SIZE=96|104 playing_host.c -o playing_host -ldl -lpthread
 *   playing_host flb-in_container_logs.so RECORDS_FILE < script
 *
 * GENERATION   whose descriptor is copied and which functions tell it: 3.0, 3.2 or 5.1
 * OPTION_SIZE  bytes in one entry of the option table
 * -DSHIFTED[=1|2]  a future host with one more callback behind cb_collect (1) or
 *              behind cb_resume (2): every later slot is read from the wrong place
 * -DMISSING_APPEND  a host that does not export flb_input_log_append_records
 * -DMISSING_MEMORY  a host that does not export flb_input_chunk_total_size
 * -DMISSING_PROPERTIES  a host that does not export flb_input_set_property
 * -DUNWATCHED  a host that cannot watch a collector's descriptor, and closes it
 * -DMETRICS    a host that is built with metrics (metrics.h)
 * -DSELF_CHECK_LEAK, -DSELF_CHECK_OVERFLOW, -DSELF_CHECK_RACE  a host with that fault,
 *              which a sanitizer must see (scripts/sanitize)
 *
 * What it plays: dlopen and the copied descriptor; the option table and its
 * checks; cb_init, collectors, cb_pause, cb_resume and cb_exit on the thread and
 * in the order of the real host; refusals; Mem_Buf_Limit with cb_pause from
 * inside the append; shutdown (pause, a short grace in which collectors still
 * fire, pause, exit in reverse order); hot reload on a new pipeline thread.
 *
 * What it does not: chunks, filters, outputs, parsers, ${VARIABLES}, and
 * the ring buffer of threaded instances: their records are accepted at once, on
 * their own thread. Loops turn only during `run`, `run-until` and the grace.
 *
 * Commands, one a line; each is answered with one line, `ok ...` or `error ...`:
 *   instance NAME KEY=VALUE ...  declare, before init; KEY="a b" for blanks
 *   init               cb_init of all; `error init NAME`: all is shut down again
 *   run MS             let the loops turn: `ok records=N appends=M refused=K`
 *   run-until N MS     the same, until N records in all are accepted
 *   pause NAME, resume NAME   as a storage limit does; appends get -1 in between
 *   refuse NAME N      the next N appends get -1 though nothing is paused
 *   refuse-above NAME BYTES   appends of more bytes get -1, as of an output with a limit
 *   refuse-tag NAME TAG       appends with this tag get -1; `none` for none
 *   partly NAME N      the next N appends are taken and get -1 all the same
 *   room NAME BYTES    appends get -1 where more would be held, until a flush
 *   limit NAME BYTES   Mem_Buf_Limit until the next reload; 0 for none
 *   flush NAME         all bytes held for NAME are delivered; resumes if they paused
 *   others NAME        call every callback this host has no own use for: `ok called=N`
 *   calls              collector callbacks so far, to see a busy loop: `ok calls=N`
 *   reload             hot reload with the same instances
 *   threads            `ok COMM:blocked ...`; or `:open`, `:some` (of the signals; faults are never blocked)
 *   fault COMM SIGNAL  send SIGNAL to the thread COMM; the host's handler logs which thread it ran on
 *   scrape, unscrape   with METRICS: begin, end walking all metrics: `ok walks=N series=M`
 *   metrics NAME [PREFIX]   with METRICS: `ok METRIC{LABEL,...}=VALUE ...`
 *   options            `ok NAME:TYPE:DEFAULT ...`, a default with blanks in quotes
 *   exit               `ok threads_left=N fds_before=A fds_after=B`, status 0, or
 *                      `error violation TEXT`, status 1. End of input does the same
 *   kill               SIGKILL; no answer
 * A plugin that cannot be loaded is `error load ...` and status 1, unasked.
 *
 * RECORDS_FILE is appended to, one write a batch, before append returns 0; all
 * integers are big-endian u32: length of the instance's NAME, NAME, length of the tag
 * (0xFFFFFFFF: no tag given), tag, records, length of the MessagePack, MessagePack.
 *
 * One translation unit in parts, each built on those before it: state.h (what the host
 * copies and keeps), option_table.h, stage.h (threads), append.h (appends and pauses),
 * exports.h (the other functions a plugin may call), metrics.h, context.h (instances and the
 * event loop, from loading to exit); here, the script and what it can see.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../../../include/fluent_bit_abi.h"
#include "state.h"
#include "option_table.h"
#include "stage.h"
#include "append.h"
#include "exports.h"
#ifdef METRICS
#include "metrics.h"
#endif
#include "context.h"

#define JOINED_MS 100   /* a joined thread may still be listed in /proc for a moment */

PRINTF_LIKE(1, 2) static void answer(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void answer_whether(bool well)
{
    answer(well ? "ok" : "error %s", trouble);
}

/* ---- what the script can see of the process ---- */

static int entries_in(const char *directory)
{
    DIR *open = opendir(directory);
    int count = -2;   /* . and .. */

    while (open != NULL && readdir(open) != NULL) count++;
    if (open != NULL) closedir(open);
    return count;
}

static int open_fds(void)
{
    return entries_in("/proc/self/fd") - 1;   /* that of the reading itself */
}

static void answer_threads(void)
{
    /* What nobody can block (KILL, STOP), and what the C library keeps to itself (32, 33). */
    const uint64_t never = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1) | 1ull << 31 | 1ull << 32;
    /* What a thread brings on itself, and the host's handler is to see. */
    const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 1ull << (SIGILL - 1) | 1ull << (SIGFPE - 1)
                            | 1ull << (SIGABRT - 1) | 1ull << (SIGTRAP - 1) | 1ull << (SIGSYS - 1);
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    char path[300], line[256], comm[32] = "";
    unsigned long long blocked = 0;

    printf("ok");
    while (tasks != NULL && (task = readdir(tasks)) != NULL) {
        FILE *status;

        snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
        status = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (status == NULL) continue;
        while (fgets(line, sizeof(line), status) != NULL) {
            sscanf(line, "Name: %31[^\n]", comm);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        fclose(status);
        for (char *blank = comm; (blank = strchr(blank, ' ')) != NULL; ) *blank = '_';
        printf(" %s:%s", comm, blocked == 0 ? "open" : (blocked | never) == (UINT64_MAX ^ faults) ? "blocked" : "some");
    }
    if (tasks != NULL) closedir(tasks);
    answer("%s", "");
}

/* As the host's handler, which prints a stack trace; once, so that a fault that is real ends the process. */
static void handle_fault(int number)
{
    char comm[16] = "", text[64];
    int length;

    prctl(PR_GET_NAME, comm);
    length = snprintf(text, sizeof(text), "[engine] caught signal %d in %s\n", number, comm);
    if (write(STDERR_FILENO, text, length) != length) abort();
}

static void send_fault(const char *comm, int number)
{
    struct sigaction action = { .sa_handler = handle_fault, .sa_flags = SA_RESETHAND };
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    char path[300], name[32];
    bool found = false;

    while (tasks != NULL && !found && (task = readdir(tasks)) != NULL) {
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file == NULL) continue;
        if (fgets(name, sizeof(name), file) != NULL) {
            name[strcspn(name, "\n")] = '\0';
            for (char *blank = name; (blank = strchr(blank, ' ')) != NULL; ) *blank = '_';
            found = strcmp(name, comm) == 0;
        }
        fclose(file);
        if (found) {
            sigaction(number, &action, NULL);
            syscall(SYS_tgkill, getpid(), atoi(task->d_name), number);
        }
    }
    if (tasks != NULL) closedir(tasks);
    answer(found ? "ok" : "error fault: no thread %s", comm);
}

static void answer_options(void)
{
    static const char *const types[] = { "str", "deprecated", "int", "bool", "double", "size", "time" };
    struct clogs_list_node *list = flb_config_map_create(current, current->plugin.head.config_map), *node;

    printf("ok");
    for (node = list->next; node != list; node = node->next) {
        const struct clogs_config_map_head *head = &option_at(node)->head;
        const char *text = head->def_value != NULL ? head->def_value : "";
        const char *quote = strchr(text, ' ') != NULL ? "\"" : "";
        bool known = head->type >= 0 && head->type < (int) (sizeof(types) / sizeof(types[0]));

        printf(" %s:%s:%s%s%s", head->name, known ? types[head->type] : "other", quote, text, quote);
    }
    answer("%s", "");
    flb_config_map_destroy(list);
}

/* ---- the script ---- */

static struct flb_input_instance *find_instance(const char *name)
{
    for (int i = 0; i < current->instance_count; i++) {
        if (strcmp(current->instances[i]->name, name) == 0) return current->instances[i];
    }
    return NULL;
}

static void declare(const char *line, const char *name)
{
    if (current->state != LOADED || declaration_count == MOST_INSTANCES || find_instance(name) != NULL) {
        answer("error instance %s: already initialized, one too many or declared before", name);
    } else if (create_instance(current, line) == NULL) {
        answer("error %s", trouble);
    } else {
        declarations[declaration_count++] = copy_of(line);
        answer("ok");
    }
}

static int others_called;

/* Slots this host has no use for: NULL in a plugin that knows the generation, anything in a shifted one. */
static void others_job(void *argument)
{
    struct flb_input_instance *ins = argument;
    struct flb_config *config = ins->config;
    struct descriptor *plugin = &config->plugin;
    size_t size = 0;

#define CALL(slot, ...) if (plugin->slot != NULL) { plugin->slot(__VA_ARGS__); others_called++; }
#ifdef SHIFTED
    CALL(cb_future, ins->context, config)
#endif
#if GENERATION >= 32
    CALL(cb_notification, ins, config, ins->context)
#endif
    CALL(cb_flush_buf, ins->context, &size)
    CALL(cb_flush_end, ins->context)
    CALL(cb_ingest, ins->context, &size, sizeof(size))
#if GENERATION >= 51
    CALL(cb_pre_exit, ins->context, config)
#endif
    CALL(cb_destroy, plugin)
#undef CALL
}

/* Commands about one instance. */
static void obey_for(struct flb_input_instance *ins, const char *command, const char *number)
{
    bool was_paused = is_paused(ins);

    if (strcmp(command, "pause") == 0) {
        perform(ins, pause_job);
        ins->paused_by_storage = true;
    } else if (strcmp(command, "resume") == 0) {
        ins->paused_by_storage = false;
    } else if (strcmp(command, "flush") == 0) {
        ins->held = 0;
        ins->paused_by_memory = false;
    } else if (strcmp(command, "others") == 0) {
        others_called = 0;
        perform(ins, others_job);
        answer("ok called=%d", others_called);
        return;
    } else if (strcmp(command, "refuse") == 0 && number != NULL) {
        ins->refusals = strtoull(number, NULL, 10);
    } else if (strcmp(command, "refuse-above") == 0 && number != NULL) {
        ins->refuses_above = strtoull(number, NULL, 10);
    } else if (strcmp(command, "partly") == 0 && number != NULL) {
        ins->partly = strtoull(number, NULL, 10);
    } else if (strcmp(command, "room") == 0 && number != NULL) {
        ins->room = strtoull(number, NULL, 10);
    } else if (strcmp(command, "refuse-tag") == 0 && number != NULL) {
        snprintf(ins->refused_tag, sizeof(ins->refused_tag), "%s", strcmp(number, "none") == 0 ? "" : number);
    } else if (strcmp(command, "limit") == 0 && number != NULL && ins->storage_type == IN_MEMORY && bytes_of(number) != -1) {
        ins->limit = bytes_of(number);
    } else {
        answer("error %s: unknown command, no number, or a limit this storage.type has not", command);
        return;
    }
    if (was_paused && !is_paused(ins)) perform(ins, resume_job);
    answer("ok");
}

/* Everything but exit. */
static void obey(const char *line, char **words, int count)
{
    const char *command = words[0];
    struct flb_input_instance *ins;

    if (strcmp(command, "instance") == 0 && count >= 2) {
        declare(line, words[1]);
    } else if (strcmp(command, "kill") == 0) {
        raise(SIGKILL);
    } else if (strcmp(command, "threads") == 0) {
        answer_threads();
    } else if (strcmp(command, "fault") == 0 && count == 3) {
        send_fault(words[1], atoi(words[2]));
    } else if (strcmp(command, "options") == 0) {
        answer_options();
    } else if (strcmp(command, "calls") == 0) {
        answer("ok calls=%llu", ledger.calls);
    } else if (strcmp(command, "init") == 0 && current->state == LOADED) {
        answer_whether(start_context(current));
    } else if (current->state != RUNNING) {
        answer("error %s: not running", command);
    } else if ((strcmp(command, "run") == 0 && count == 2) || (strcmp(command, "run-until") == 0 && count == 3)) {
        run(current, strtoll(words[count - 1], NULL, 10), count == 3 ? strtoull(words[1], NULL, 10) : NO_TARGET);
        answer("ok records=%llu appends=%llu refused=%llu", ledger.records, ledger.appends, ledger.refused);
#ifdef METRICS
    } else if (strcmp(command, "scrape") == 0) {
        start_scraping(current);
        answer_whether(scraper.is_running);
    } else if (strcmp(command, "unscrape") == 0) {
        stop_scraping();
        answer("ok walks=%llu series=%llu", scraper.walks, scraper.series);
    } else if (strcmp(command, "metrics") == 0 && count >= 2 && (ins = find_instance(words[1])) != NULL) {
        printf("ok");
        print_metrics(ins, count >= 3 ? words[2] : "");
        answer("%s", "");
#endif
    } else if (strcmp(command, "reload") == 0) {
        answer_whether(reload());
    } else if (count >= 2 && (ins = find_instance(words[1])) != NULL) {
        obey_for(ins, command, count >= 3 ? words[2] : NULL);
    } else {
        answer("error %s: unknown command or instance, or not now", command);
    }
}

#ifdef SELF_CHECK_LEAK
static void *volatile leaked;
#endif
#ifdef SELF_CHECK_RACE
static char raced[64];

static void *race(void *argument)
{
    memset(raced, argument == NULL, sizeof(raced));
    return NULL;
}
#endif

/* What a sanitizer must see if it is there at all (scripts/sanitize asks for one of these). */
static void be_wrong(void)
{
#ifdef SELF_CHECK_LEAK
    leaked = malloc(100);
    leaked = NULL;
#endif
#ifdef SELF_CHECK_RACE
    pthread_t other;

    pthread_create(&other, NULL, race, NULL);
    race(&other);
    pthread_join(other, NULL);
#endif
}

static void *tell_tid(void *tid)
{
    *(pid_t *) tid = (pid_t) syscall(SYS_gettid);
    return NULL;
}

/* A thread of ours that has come and gone. Joined, it is still listed for a moment. */
static void start_and_end_a_thread(void)
{
    char path[PATH_MAX];
    pthread_t thread;
    pid_t tid;

    if (pthread_create(&thread, NULL, tell_tid, &tid) != 0 || pthread_join(thread, NULL) != 0) abort();
    snprintf(path, sizeof(path), "/proc/self/task/%d", (int) tid);
    while (access(path, F_OK) == 0) usleep(100);
}

int main(int argc, char **argv)
{
    char *line = NULL, *words[MOST_WORDS];
    size_t room = 0;
    int fds_before, tasks_before, tasks_left;

    if (argc != 3) {
        fprintf(stderr, "usage: playing_host PLUGIN.so RECORDS_FILE < script\n");
        return 2;
    }
    /* A sanitizer begins a thread of its own with the first of ours. */
    start_and_end_a_thread();
    tasks_before = entries_in("/proc/self/task");
    signal(SIGPIPE, SIG_IGN);   /* as the host does */
    library_path = argv[1];
    ledger.file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    current = ledger.file != -1 ? open_context() : NULL;
    if (current == NULL) {
        answer("error load %s", ledger.file == -1 ? argv[2] : trouble);
        return 1;
    }
    be_wrong();
    fds_before = open_fds();
    for (bool leaving = false; !leaving && getline(&line, &room, stdin) != -1; ) {
        char *copy = copy_of(line);
        int count = split(copy, words);

        leaving = count > 0 && strcmp(words[0], "exit") == 0;
        if (count > 0 && !leaving) obey(line, words, count);
        free(copy);
    }
    free(line);
    if (current->state == RUNNING) stop_context(current);
    close_context(current);
    while (declaration_count > 0) free(declarations[--declaration_count]);
    for (int waited = 0; waited <= JOINED_MS; waited++) {
        tasks_left = entries_in("/proc/self/task") - tasks_before;
        if (tasks_left == 0) break;
        usleep(1000);
    }
    if (ledger.violation[0] != '\0') {
        answer("error violation %s", ledger.violation);
        return 1;
    }
    answer("ok threads_left=%d fds_before=%d fds_after=%d", tasks_left, fds_before, open_fds());
    return 0;
}
