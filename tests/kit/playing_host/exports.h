/* Part of playing_host.c: the functions a plugin may call that have no part of their own. */

int flb_input_log_check(struct flb_input_instance *ins, int level)
{
    return ins->log_level >= level;
}

const char *flb_input_name(struct flb_input_instance *ins)
{
#ifdef SELF_CHECK_OVERFLOW
    return memset(malloc(4), 'x', 4);   /* and no NUL behind it */
#endif
    return ins->alias != NULL ? ins->alias : ins->host_name;
}

const char *flb_input_get_property(const char *key, struct flb_input_instance *ins)
{
    /* By nothing but the list, as the real one: the plugin also asks with what is no instance. */
    for (struct clogs_list_node *node = ins->properties.next; node != &ins->properties; node = node->next) {
        struct clogs_property *property =
            (struct clogs_property *) ((char *) node - offsetof(struct clogs_property, node));
        struct text *name = (struct text *) (property->key - offsetof(struct text, bytes));

        if (name->length == strlen(key) && strncasecmp(property->key, key, name->length) == 0) return property->value;
    }
    return NULL;
}

/* Of the core options those that the plugin finds in this way, with what is no instance. */
static int set_storage(struct flb_input_instance *ins, const char *key, const char *value)
{
    if (strcasecmp(key, "mem_buf_limit") == 0) {
        ins->limit = bytes_of(value);
        return bytes_of(value) != -1 ? 0 : -1;
    }
    if (strcasecmp(key, "storage.type") == 0) {
        ins->storage_type = strcasecmp(value, "filesystem") == 0 ? IN_FILES
                            : strcasecmp(value, "memrb") == 0    ? IN_RING
                                                                 : IN_MEMORY;
        return is_one_of(value, "memory", "filesystem", "memrb") ? 0 : -1;
    }
    return -1;
}

#ifndef MISSING_PROPERTIES
int flb_input_set_property(struct flb_input_instance *ins, const char *key, const char *value)
{
    return set_storage(ins, key, value);
}
#endif

#ifndef MISSING_MEMORY
size_t flb_input_chunk_total_size(struct flb_input_instance *ins)
{
    return may_call(ins, __func__) ? ins->held : 0;
}
#endif

/* The outputs take everything at once. */
int flb_engine_flush(struct flb_config *config, void *plugin)
{
    /* Each instance is one of its only plugin. */
    if (plugin != NULL && plugin != &config->plugin) return 0;
    for (int i = 0; i < config->instance_count; i++) {
        if (may_call(config->instances[i], __func__)) config->instances[i]->held = 0;
    }
    return 0;
}

void flb_input_set_context(struct flb_input_instance *ins, void *context)
{
    if (may_call(ins, __func__)) ins->context = context;
}

static int add_collector(struct flb_input_instance *ins, const char *function, struct collector collector)
{
    if (!may_call(ins, function) || ins->collector_count == MOST_COLLECTORS) return -1;
    ins->collectors[ins->collector_count] = collector;
    return ins->collector_count++;
}

int flb_input_set_collector_event(struct flb_input_instance *ins, clogs_collect_cb callback, int fd,
                                  struct flb_config *config)
{
    (void) config;
    return add_collector(ins, __func__, (struct collector) { .callback = callback, .fd = fd });
}

int flb_input_set_collector_time(struct flb_input_instance *ins, clogs_collect_cb callback, time_t seconds,
                                 long nanoseconds, struct flb_config *config)
{
    (void) config;
    return add_collector(ins, __func__, (struct collector) {
        .callback = callback, .fd = -1, .interval_ns = seconds * 1000000000LL + nanoseconds });
}

/* One parser, for the first word of a text that has several. */
static struct flb_config *parsers_of;

void *flb_parser_get(const char *name, struct flb_config *config)
{
    if (current == NULL || config != current) {
        violation("flb_parser_get for a configuration that does not exist (any more)");
        return NULL;
    }
    parsers_of = config;
    return strcmp(name, "first-word") == 0 ? &parsers_of : NULL;
}

int flb_parser_do(void *parser, const char *text, size_t length, void **out, size_t *out_size, struct timespec *time)
{
    const char *blank = memchr(text, ' ', length);
    size_t word = blank != NULL ? (size_t) (blank - text) : 0;
    uint8_t *map;

    if (parser != &parsers_of || !pthread_equal(pthread_self(), parsers_of->pipeline.thread)) {
        violation("flb_parser_do on the wrong thread, or with no parser");
        return -1;
    }
    if (word == 0 || word > 31) return -1;
    *out = map = some(7 + word);
    *out_size = 7 + word;
    memcpy(map, "\x81\xa4word", 6);
    map[6] = 0xa0 | word;
    memcpy(map + 7, text, word);
    time->tv_sec = word;
    return length;
}

/* The two functions by whose presence a plugin tells the generations apart. */
#if GENERATION >= 32
int flb_notification_enqueue(int type, char *name, void *notification, struct flb_config *config)
{
    (void) type, (void) name, (void) notification, (void) config;
    return -1;
}
#endif
#if GENERATION >= 51
int flb_input_plugin_pause(struct flb_input_instance *ins)
{
    call_pause(ins);
    return 0;
}
#endif
