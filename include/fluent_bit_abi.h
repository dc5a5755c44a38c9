/*
 * The binary interface between Fluent Bit and a native input plugin, as far as
 * container_logs uses it. Our own words for facts read off the releases from 2.1
 * to 5.1; nothing here includes a header of the host. tests/abi/ compares it with
 * the headers of any source tree of Fluent Bit.
 *
 * Fluent Bit checks no version: it copies sizeof(its own descriptor) bytes from
 * the exported symbol. The layouts below are therefore named after the release
 * in which each appeared, and the plugin picks one when it is loaded
 * (src/ffi/descriptor.rs).
 */
#ifndef CONTAINER_LOGS_FLUENT_BIT_ABI_H
#define CONTAINER_LOGS_FLUENT_BIT_ABI_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Opaque: the plugin never looks inside an instance or a configuration. */
struct flb_input_instance;
struct flb_config;

/* flb_input_plugin.type: a plugin called directly, not through a proxy. */
#define CLOGS_FLB_INPUT_PLUGIN_CORE 0

/* Levels of flb_log_print() and flb_input_log_check(). */
#define CLOGS_FLB_LOG_ERROR 1
#define CLOGS_FLB_LOG_WARN  2
#define CLOGS_FLB_LOG_INFO  3
#define CLOGS_FLB_LOG_DEBUG 4
#define CLOGS_FLB_LOG_TRACE 5

/* flb_config_map.type */
#define CLOGS_FLB_CONFIG_MAP_STR  0
#define CLOGS_FLB_CONFIG_MAP_INT  2
#define CLOGS_FLB_CONFIG_MAP_BOOL 3
#define CLOGS_FLB_CONFIG_MAP_SIZE 5
#define CLOGS_FLB_CONFIG_MAP_TIME 6

/* flb_config_map.flags: the option may be given more than once. */
#define CLOGS_FLB_CONFIG_MAP_MULT 1

typedef int  (*clogs_init_cb)(struct flb_input_instance *ins, struct flb_config *config, void *data);
typedef int  (*clogs_collect_cb)(struct flb_input_instance *ins, struct flb_config *config, void *context);
typedef void (*clogs_pause_cb)(void *context, struct flb_config *config);
typedef int  (*clogs_exit_cb)(void *context, struct flb_config *config);

/* The head of the descriptor: the same offsets in every release. */
struct clogs_plugin_head {
    int               type;
    void             *proxy;
    int               flags;
    char             *name;
    char             *description;
    void             *config_map;
    clogs_init_cb     cb_init;
    clogs_init_cb     cb_pre_run;
    clogs_collect_cb  cb_collect;
};

/* 2.1 to 3.1 */
struct clogs_plugin_3_0 {
    struct clogs_plugin_head head;
    void            *cb_flush_buf;
    void            *cb_flush_end;
    clogs_pause_cb   cb_pause;
    clogs_pause_cb   cb_resume;
    void            *cb_ingest;
    clogs_exit_cb    cb_exit;
    void            *cb_destroy;
};

/* 3.2 to 5.0: cb_notification came in before cb_flush_buf. */
struct clogs_plugin_3_2 {
    struct clogs_plugin_head head;
    void            *cb_notification;
    void            *cb_flush_buf;
    void            *cb_flush_end;
    clogs_pause_cb   cb_pause;
    clogs_pause_cb   cb_resume;
    void            *cb_ingest;
    clogs_exit_cb    cb_exit;
    void            *cb_destroy;
};

/* 5.1: checked pause and resume, and cb_pre_exit. */
struct clogs_plugin_5_1 {
    struct clogs_plugin_head head;
    void            *cb_notification;
    void            *cb_flush_buf;
    void            *cb_flush_end;
    clogs_pause_cb   cb_pause;
    clogs_pause_cb   cb_resume;
    void            *cb_pause_checked;
    void            *cb_resume_checked;
    void            *cb_ingest;
    void            *cb_pre_exit;
    clogs_exit_cb    cb_exit;
    void            *cb_destroy;
};

/*
 * The head of an option's entry. Behind it the host keeps a value and a list
 * node of its own: 96 bytes in all up to 5.0.2, 104 from 5.0.3 on. Ask the
 * host (src/ffi/option_map.rs); never use sizeof of this struct as a stride.
 */
struct clogs_config_map_head {
    int         type;
    char       *name;
    char       *def_value;
    int         flags;
    int         set_property;
    uintptr_t   offset;
    char       *desc;
};

/* The node of the host's circular lists. */
struct clogs_list_node {
    struct clogs_list_node *prev;
    struct clogs_list_node *next;
};

/* A property of an instance as the user wrote it, in the host's list of them. */
struct clogs_property {
    char                   *key;
    char                   *value;
    struct clogs_list_node  node;
};

/* What the host exports and the plugin resolves by name, once. */
typedef int  (*clogs_append_fn)(struct flb_input_instance *ins, size_t records,
                                const char *tag, size_t tag_len,
                                const void *buf, size_t buf_size);
typedef void (*clogs_set_context_fn)(struct flb_input_instance *ins, void *context);
typedef int  (*clogs_set_collector_event_fn)(struct flb_input_instance *ins,
                                             clogs_collect_cb cb, int fd,
                                             struct flb_config *config);
typedef const char *(*clogs_get_property_fn)(const char *key, struct flb_input_instance *ins);
typedef const char *(*clogs_input_name_fn)(struct flb_input_instance *ins);
typedef int  (*clogs_log_check_fn)(struct flb_input_instance *ins, int level);
typedef void (*clogs_log_print_fn)(int level, const char *file, int line, const char *fmt, ...);

/*
 * Metrics: exported by hosts that are built with them. The context and the
 * metrics are opaque; the host frees both with its instance, after cb_exit.
 */
typedef void *(*clogs_get_cmt_fn)(struct flb_input_instance *ins);
typedef void *(*clogs_cmt_create_fn)(void *cmt, char *ns, char *subsystem, char *name, char *help,
                                     int label_count, char **label_keys);
typedef int  (*clogs_cmt_set_fn)(void *metric, uint64_t timestamp, double value,
                                 int label_count, char **label_values);
typedef void (*clogs_cmt_allow_reset_fn)(void *counter);
typedef void *(*clogs_cmt_buckets_create_fn)(double *upper_bounds, size_t count);
typedef void *(*clogs_cmt_histogram_create_fn)(void *cmt, char *ns, char *subsystem, char *name, char *help,
                                               void *buckets, int label_count, char **label_keys);
/* One count more than bounds: each counts what is at or below its bound, the last one all. */
typedef int  (*clogs_cmt_histogram_set_fn)(void *histogram, uint64_t timestamp, uint64_t *counts,
                                           double sum, uint64_t count, int label_count, char **label_values);

/*
 * Parsers: exported by hosts that are built with them. The parser is opaque and
 * belongs to the configuration. The second function returns -1 where the text does
 * not fit; else *out is a MessagePack map, the caller's to free(), and the time is
 * that of the text, or stays zero.
 */
typedef void *(*clogs_parser_get_fn)(const char *name, struct flb_config *config);
typedef int  (*clogs_parser_do_fn)(void *parser, const char *text, size_t length,
                                   void **out, size_t *out_size, struct timespec *time);

typedef struct clogs_list_node *(*clogs_config_map_create_fn)(struct flb_config *config, void *map);
typedef void (*clogs_config_map_destroy_fn)(struct clogs_list_node *list);

#endif
