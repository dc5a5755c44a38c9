/*
 * An input that has nothing to do but append records that are ready: the floor
 * under every input of this host.
 *
 *   CLOGS_READY_FILE   batches as container_logs queued them, one after another:
 *                      records and bytes (both u32, big-endian), MessagePack
 *   CLOGS_READY_TOTAL  records to append in all; the batches are taken in turn
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../include/fluent_bit_abi.h"

/* As much as container_logs hands over before it gives the thread back. */
#define TURN_BYTES (4u << 20)

extern int flb_input_log_append_records(struct flb_input_instance *, size_t, const char *, size_t, const void *, size_t);
extern void flb_input_set_context(struct flb_input_instance *, void *);
extern int flb_input_set_collector_event(struct flb_input_instance *, clogs_collect_cb, int, struct flb_config *);

static uint8_t *batches, *next;
static size_t batches_bytes;
static uint64_t left;
static int bell;

static uint32_t number(const uint8_t *at)
{
    return (uint32_t) at[0] << 24 | (uint32_t) at[1] << 16 | (uint32_t) at[2] << 8 | at[3];
}

static int collect(struct flb_input_instance *ins, struct flb_config *config, void *context)
{
    size_t appended = 0;
    uint64_t count;

    (void) config, (void) context;
    while (left > 0 && appended < TURN_BYTES) {
        uint32_t records = number(next), bytes = number(next + 4);

        /* A last batch that is too large is left out; the bench asked for whole ones. */
        if (records > left) {
            left = 0;
            break;
        }
        if (flb_input_log_append_records(ins, records, NULL, 0, next + 8, bytes) != 0) return 0;
        left -= records;
        appended += bytes;
        next += 8 + bytes;
        if (next == batches + batches_bytes) next = batches;
    }
    if (left == 0 && read(bell, &count, sizeof(count)) < 0) return 0;
    return 0;
}

static int init(struct flb_input_instance *ins, struct flb_config *config, void *data)
{
    const char *path = getenv("CLOGS_READY_FILE"), *total = getenv("CLOGS_READY_TOTAL");
    int file = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat stat;

    (void) data;
    if (file < 0 || total == NULL || fstat(file, &stat) != 0) return -1;
    batches_bytes = (size_t) stat.st_size;
    next = batches = malloc(batches_bytes + 1);
    if (batches == NULL || read(file, batches, batches_bytes) != (ssize_t) batches_bytes) return -1;
    close(file);
    left = batches_bytes > 0 ? strtoull(total, NULL, 10) : 0;
    bell = eventfd(left > 0, EFD_CLOEXEC | EFD_NONBLOCK);
    flb_input_set_context(ins, &left);
    return flb_input_set_collector_event(ins, collect, bell, config) < 0 ? -1 : 0;
}

/* The host copies as much of this as its own struct has; the rest is zero. */
union {
    struct clogs_plugin_head plugin;
    char room[512];
} in_ready_records_plugin = {
    .plugin = {
        .type = CLOGS_FLB_INPUT_PLUGIN_CORE,
        .name = "ready_records",
        .description = "Appends records that are ready",
        .cb_init = init,
        .cb_collect = collect,
    }
};
