/*
 * Compares include/fluent_bit_abi.h with the headers of a Fluent Bit. A line for each
 * field: its name, and where we and the host have it. What has to be the same type is
 * compared by the compiler. main.rs compiles and runs it.
 */
/* What the build of Fluent Bit finds out on Linux, for a tree that has not been configured. */
#define MK_HAVE_SYS_UIO_H
#define MK_HAVE_UNISTD_H
#define FLB_HAVE_METRICS
#define FLB_HAVE_REGEX
#define FLB_HAVE_PARSER

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <fluent-bit/flb_input.h>
#include <fluent-bit/flb_input_plugin.h>
#include <fluent-bit/flb_input_log.h>
#include <fluent-bit/flb_input_chunk.h>
#include <fluent-bit/flb_engine.h>
#include <fluent-bit/flb_config_map.h>
#include <fluent-bit/flb_kv.h>
#include <fluent-bit/flb_log.h>
#include <fluent-bit/flb_parser.h>
#include <fluent-bit/flb_time.h>
#include <cmetrics/cmetrics.h>
#include <cmetrics/cmt_counter.h>
#include <cmetrics/cmt_gauge.h>
#include <cmetrics/cmt_histogram.h>

#include "fluent_bit_abi.h"

/* LAYOUT is the clogs_plugin_… that the plugin takes for this host. */
#define PASTE(a, b) a##b
#define STRUCT(layout) struct PASTE(clogs_plugin_, layout)

static void row(const char *what, size_t ours, size_t theirs)
{
    printf("%s\t%zu\t%zu\n", what, ours, theirs);
}

#define FIELD(our_struct, our_field, their_struct, their_field)                             \
    row(#their_struct "." #their_field, offsetof(struct our_struct, our_field),             \
        offsetof(struct their_struct, their_field));                                       \
    row("sizeof " #their_struct "." #their_field,                                          \
        sizeof(((struct our_struct *) 0)->our_field),                                      \
        sizeof(((struct their_struct *) 0)->their_field))
#define HEAD(field)   FIELD(clogs_plugin_head, field, flb_input_plugin, field)
#define OPTION(field) FIELD(clogs_config_map_head, field, flb_config_map, field)
#define CALLBACK(field)                                                                    \
    row("flb_input_plugin." #field, offsetof(STRUCT(LAYOUT), field),                        \
        offsetof(struct flb_input_plugin, field))
#define CONSTANT(ours, theirs) row(#theirs, ours, theirs)
/* The second takes the host's types for those that are opaque to us. */
#define SAME(function, pointer)                                                             \
    row("prototype " #function, 1, __builtin_types_compatible_p(__typeof__(&function), pointer))
#define PROTOTYPE(function, ...)                                                            \
    row("prototype " #function, 1, __builtin_types_compatible_p(__typeof__(function), __VA_ARGS__))
#define CALLBACK_TYPE(type, field)                                                          \
    row("type of " #field, 1,                                                               \
        __builtin_types_compatible_p(type, __typeof__(((struct flb_input_plugin *) 0)->field)))

int main(void)
{
    HEAD(type);
    HEAD(proxy);
    HEAD(flags);
    HEAD(name);
    HEAD(description);
    HEAD(config_map);
    HEAD(cb_init);
    HEAD(cb_pre_run);
    HEAD(cb_collect);
#if GENERATION >= 32
    CALLBACK(cb_notification);
#endif
    CALLBACK(cb_flush_buf);
    CALLBACK(cb_flush_end);
    CALLBACK(cb_pause);
    CALLBACK(cb_resume);
#if GENERATION >= 51
    CALLBACK(cb_pause_checked);
    CALLBACK(cb_resume_checked);
#endif
    CALLBACK(cb_ingest);
#if GENERATION >= 51
    CALLBACK(cb_pre_exit);
#endif
    CALLBACK(cb_exit);
    CALLBACK(cb_destroy);
    CALLBACK_TYPE(clogs_init_cb, cb_init);
    CALLBACK_TYPE(clogs_collect_cb, cb_collect);
    CALLBACK_TYPE(clogs_pause_cb, cb_pause);
    CALLBACK_TYPE(clogs_pause_cb, cb_resume);
    CALLBACK_TYPE(clogs_exit_cb, cb_exit);
    /* The host copies its own struct from our symbol: src/ffi/descriptor.rs. */
    row("flb_input_plugin fits into 1024", 1, sizeof(struct flb_input_plugin) <= 1024);

    OPTION(type);
    OPTION(name);
    OPTION(def_value);
    OPTION(flags);
    OPTION(set_property);
    OPTION(offset);
    OPTION(desc);
    /* src/ffi/option_map.rs asks the host for one of these. */
    row("flb_config_map is 96 or 104", 1,
        sizeof(struct flb_config_map) == 96 || sizeof(struct flb_config_map) == 104);

    FIELD(clogs_list_node, prev, mk_list, prev);
    FIELD(clogs_list_node, next, mk_list, next);
    FIELD(clogs_property, key, flb_kv, key);
    FIELD(clogs_property, value, flb_kv, val);
    FIELD(clogs_property, node, flb_kv, _head);

    CONSTANT(CLOGS_FLB_INPUT_PLUGIN_CORE, FLB_INPUT_PLUGIN_CORE);
    CONSTANT(CLOGS_FLB_LOG_ERROR, FLB_LOG_ERROR);
    CONSTANT(CLOGS_FLB_LOG_WARN, FLB_LOG_WARN);
    CONSTANT(CLOGS_FLB_LOG_INFO, FLB_LOG_INFO);
    CONSTANT(CLOGS_FLB_LOG_DEBUG, FLB_LOG_DEBUG);
    CONSTANT(CLOGS_FLB_LOG_TRACE, FLB_LOG_TRACE);
    CONSTANT(CLOGS_FLB_CONFIG_MAP_STR, FLB_CONFIG_MAP_STR);
    CONSTANT(CLOGS_FLB_CONFIG_MAP_INT, FLB_CONFIG_MAP_INT);
    CONSTANT(CLOGS_FLB_CONFIG_MAP_BOOL, FLB_CONFIG_MAP_BOOL);
    CONSTANT(CLOGS_FLB_CONFIG_MAP_SIZE, FLB_CONFIG_MAP_SIZE);
    CONSTANT(CLOGS_FLB_CONFIG_MAP_TIME, FLB_CONFIG_MAP_TIME);
    CONSTANT(CLOGS_FLB_CONFIG_MAP_MULT, FLB_CONFIG_MAP_MULT);

    SAME(flb_input_log_append_records, clogs_append_fn);
    SAME(flb_input_set_context, clogs_set_context_fn);
    SAME(flb_input_set_collector_event, clogs_set_collector_event_fn);
    SAME(flb_input_get_property, clogs_get_property_fn);
    SAME(flb_input_name, clogs_input_name_fn);
    SAME(flb_input_log_check, clogs_log_check_fn);
    PROTOTYPE(flb_log_print, void (int, const char *, int, const char *, ...));
    PROTOTYPE(flb_input_chunk_total_size, size_t (struct flb_input_instance *));
    PROTOTYPE(flb_engine_flush, int (struct flb_config *, struct flb_input_plugin *));
    PROTOTYPE(flb_input_set_property, int (struct flb_input_instance *, const char *, const char *));
    /* src/ffi/storage.rs and src/ffi/properties.rs pass the host a block in place of one. */
    row("flb_input_instance fits into 32768", 1, sizeof(struct flb_input_instance) <= 32768);
    PROTOTYPE(flb_config_map_create, struct mk_list *(struct flb_config *, struct flb_config_map *));
    PROTOTYPE(flb_config_map_destroy, void (struct mk_list *));
    PROTOTYPE(flb_parser_get, struct flb_parser *(const char *, struct flb_config *));
    PROTOTYPE(flb_parser_do, int (struct flb_parser *, const char *, size_t, void **, size_t *,
                                  struct flb_time *));
    row("sizeof flb_time", sizeof(struct timespec), sizeof(struct flb_time));
    SAME(flb_input_get_cmt_instance, clogs_get_cmt_fn);
    PROTOTYPE(cmt_counter_create, struct cmt_counter *(struct cmt *, char *, char *, char *, char *,
                                                       int, char **));
    PROTOTYPE(cmt_gauge_create, struct cmt_gauge *(struct cmt *, char *, char *, char *, char *,
                                                   int, char **));
    PROTOTYPE(cmt_counter_set, int (struct cmt_counter *, uint64_t, double, int, char **));
    PROTOTYPE(cmt_gauge_set, int (struct cmt_gauge *, uint64_t, double, int, char **));
    PROTOTYPE(cmt_counter_allow_reset, void (struct cmt_counter *));
    PROTOTYPE(cmt_histogram_buckets_create_size, struct cmt_histogram_buckets *(double *, size_t));
    PROTOTYPE(cmt_histogram_create, struct cmt_histogram *(struct cmt *, char *, char *, char *, char *,
                                                           struct cmt_histogram_buckets *, int, char **));
    PROTOTYPE(cmt_histogram_set_default, int (struct cmt_histogram *, uint64_t, uint64_t *, double,
                                              uint64_t, int, char **));
    return 0;
}
