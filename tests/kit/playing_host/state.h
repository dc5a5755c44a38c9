/* Part of playing_host.c: what the played host copies from the plugin, and what it keeps. */

#if GENERATION != 30 && GENERATION != 32 && GENERATION != 51
#error "GENERATION must be 30, 32 or 51"
#endif

/* A bench plays the host for an input of its own. */
#ifndef PLUGIN_NAME
#define PLUGIN_NAME     "container_logs"
#endif
#define PLUGIN_SYMBOL   "in_" PLUGIN_NAME "_plugin"
#define MOST_INSTANCES  16
#define MOST_COLLECTORS 8
#define MOST_WORDS      64
#define NO_TARGET       UINT64_MAX
#define PRINTF_LIKE(text, values) __attribute__((format(printf, text, values)))

struct descriptor {
    struct clogs_plugin_head head;
#if defined(SHIFTED) && SHIFTED == 1
    clogs_pause_cb cb_future;
#endif
#if GENERATION >= 32
    clogs_init_cb  cb_notification;
#endif
    void        *(*cb_flush_buf)(void *context, size_t *size);
    void         (*cb_flush_end)(void *context);
    clogs_pause_cb cb_pause;
    clogs_pause_cb cb_resume;
#if defined(SHIFTED) && SHIFTED == 2
    clogs_pause_cb cb_future;
#endif
#if GENERATION >= 51
    clogs_exit_cb  cb_pause_checked;
    clogs_exit_cb  cb_resume_checked;
#endif
    int          (*cb_ingest)(void *context, void *data, size_t size);
#if GENERATION >= 51
    clogs_pause_cb cb_pre_exit;
#endif
    clogs_exit_cb  cb_exit;
    void         (*cb_destroy)(struct descriptor *plugin);
#if GENERATION >= 32
    void *test_block[6];
#endif
    void *instance;
    struct clogs_list_node node;
};

#ifndef SHIFTED
#if GENERATION == 30
#define HEADER_DESCRIPTOR struct clogs_plugin_3_0
#elif GENERATION == 32
#define HEADER_DESCRIPTOR struct clogs_plugin_3_2
#else
#define HEADER_DESCRIPTOR struct clogs_plugin_5_1
#endif
_Static_assert(offsetof(struct descriptor, cb_pause) == offsetof(HEADER_DESCRIPTOR, cb_pause) &&
               offsetof(struct descriptor, cb_exit) == offsetof(HEADER_DESCRIPTOR, cb_exit),
               "this host and the ABI header disagree about the descriptor");
#endif

struct option {
    struct clogs_config_map_head head;
    char *text;                      /* a string option's default */
#if OPTION_SIZE == 104
    void *raw;
#endif
    struct clogs_list_node *values;  /* of an option that may be repeated */
    struct clogs_list_node value_node;
    struct clogs_list_node node;
};
_Static_assert(sizeof(struct option) == OPTION_SIZE, "OPTION_SIZE must be 96 or 104");

/* A thread that does one job at a time for the main thread: the pipeline, or a threaded instance. */
struct stage {
    char               name[64];
    pthread_t          thread;
    pthread_mutex_t    lock;
    pthread_cond_t     changed;
    void             (*job)(void *);
    void              *argument;
    bool               leaving;
    struct flb_config *config;
    long long          deadline_ns;  /* of turn_loop() */
    unsigned long long target;       /* records in all that end it sooner */
};

struct collector {
    clogs_collect_cb callback;
    int              fd;             /* -1: a timer, or dead */
    int              stranger;       /* with UNWATCHED: the number of its fd, which is somebody else's by now */
    long long        interval_ns;    /* 0: an fd */
    long long        due_ns;
};

/* The host's text: its length stands before it, and the plugin sees the text. */
struct text {
    uint64_t length, room;
    char     bytes[];
};

struct flb_input_instance {
    struct clogs_list_node properties;   /* what the plugin may ask for */
    char              *line;             /* its own copy of the declaration: keys and values point into it */
    char              *keys[MOST_WORDS]; /* NULL: a core option, which the plugin cannot ask for */
    char              *values[MOST_WORDS];
    int                option_count;
    char              *name;             /* in the script and the records file */
    char               host_name[32];    /* container_logs.N */
    char              *alias;
    int                log_level;
    bool               threaded;
    enum { IN_MEMORY, IN_FILES, IN_RING } storage_type;   /* only the first pauses for memory */
    struct clogs_list_node *option_map;
    struct flb_config *config;
    void              *context;
    struct cmt        *cmt;              /* with METRICS */
    struct stage       own_stage;        /* used if threaded */
    struct collector   collectors[MOST_COLLECTORS];
    int                collector_count;
    bool               paused_by_memory;
    bool               paused_by_storage;
    bool               pause_due;        /* threaded: cb_pause waits for the own loop */
    bool               told_to_stop;     /* cb_pause of the shutdown has returned */
    unsigned long long refusals;
    unsigned long long partly;           /* so many appends are taken and get -1 all the same */
    unsigned long long refuses_above;    /* appends of more bytes get -1; 0 for none */
    unsigned long long room;             /* appends get -1 where more would be held; 0 for no bound */
    char               refused_tag[256]; /* appends with it get -1; empty for none */
    unsigned long long limit;            /* 0 for none */
    unsigned long long held;             /* bytes accepted since the last flush */
};

/* One loaded context: the host makes a new one for each hot reload. */
struct flb_config {
    void                      *library;
    struct descriptor          plugin;
    struct stage               pipeline;
    struct flb_input_instance *instances[MOST_INSTANCES];
    int                        instance_count;
    enum { LOADED, RUNNING, STOPPED } state;
};

/* Held by whoever touches the counters, the file, or which instances exist. */
static struct {
    pthread_mutex_t    lock;
    unsigned long long records, appends, refused, calls;
    int                file;
    char               violation[256];   /* the first; empty: none */
} ledger = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct flb_config *current;
static const char *library_path;
static char *declarations[MOST_INSTANCES];   /* the script's lines: they outlive a reload */
static int declaration_count;
static char trouble[4096];                   /* why the last step failed, for the answer */

/* The host's functions have the types the plugin believes in. */
#define OF_TYPE(type) extern __typeof__(*(type) 0)
OF_TYPE(clogs_append_fn)              flb_input_log_append_records;
OF_TYPE(clogs_set_context_fn)         flb_input_set_context;
extern size_t                         flb_input_chunk_total_size(struct flb_input_instance *ins);
extern int                            flb_engine_flush(struct flb_config *config, void *plugin);
extern int                            flb_input_set_property(struct flb_input_instance *ins, const char *key,
                                                             const char *value);
OF_TYPE(clogs_set_collector_event_fn) flb_input_set_collector_event;
OF_TYPE(clogs_get_property_fn)        flb_input_get_property;
OF_TYPE(clogs_input_name_fn)          flb_input_name;
OF_TYPE(clogs_log_check_fn)           flb_input_log_check;
OF_TYPE(clogs_parser_get_fn)          flb_parser_get;
OF_TYPE(clogs_parser_do_fn)           flb_parser_do;
OF_TYPE(clogs_log_print_fn)           flb_log_print PRINTF_LIKE(4, 5);
OF_TYPE(clogs_config_map_create_fn)   flb_config_map_create;
OF_TYPE(clogs_config_map_destroy_fn)  flb_config_map_destroy;
#ifdef METRICS
OF_TYPE(clogs_get_cmt_fn)              flb_input_get_cmt_instance;
OF_TYPE(clogs_cmt_create_fn)           cmt_counter_create;
OF_TYPE(clogs_cmt_set_fn)              cmt_counter_set;
OF_TYPE(clogs_cmt_allow_reset_fn)      cmt_counter_allow_reset;
OF_TYPE(clogs_cmt_create_fn)           cmt_gauge_create;
OF_TYPE(clogs_cmt_set_fn)              cmt_gauge_set;
OF_TYPE(clogs_cmt_buckets_create_fn)   cmt_histogram_buckets_create_size;
OF_TYPE(clogs_cmt_histogram_create_fn) cmt_histogram_create;
OF_TYPE(clogs_cmt_histogram_set_fn)    cmt_histogram_set_default;
/* Exported so that a plugin that calls them can be caught. */
int cmt_counter_destroy(void *metric);
int cmt_gauge_destroy(void *metric);
int cmt_histogram_destroy(void *metric);
#endif

#define LOG(level, ...) flb_log_print(CLOGS_FLB_LOG_##level, __FILE__, __LINE__, __VA_ARGS__)

void flb_log_print(int level, const char *file, int line, const char *format, ...)
{
    static const char *const labels[] = { "  log", "error", " warn", " info", "debug", "trace" };
    char text[4096];
    va_list arguments;

    (void) file, (void) line;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    dprintf(STDERR_FILENO, "[%s] %s\n", labels[level >= 1 && level <= 5 ? level : 0], text);
}

PRINTF_LIKE(1, 2) static void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(trouble, sizeof(trouble), format, arguments);
    va_end(arguments);
}

/* The plugin did what the real host would punish later: the test must not pass. */
PRINTF_LIKE(1, 2) static void violation(const char *format, ...)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    char text[sizeof(ledger.violation)];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    dprintf(STDERR_FILENO, "violation: %s\n", text);
    pthread_mutex_lock(&lock);
    if (ledger.violation[0] == '\0') memcpy(ledger.violation, text, sizeof(text));
    pthread_mutex_unlock(&lock);
}

/* Zeroed. A host out of memory has nothing left to play. */
static void *some(size_t size)
{
    void *memory = calloc(1, size);

    if (memory == NULL) abort();
    return memory;
}

static char *copy_of(const char *text)
{
    return strcpy(some(strlen(text) + 1), text);
}
