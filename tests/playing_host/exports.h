/* Part of playing_host.c: the functions a plugin may call that have no part of their own. */

int flb_input_log_check(struct flb_input_instance *ins, int level)
{
    return ins->log_level >= level;
}

const char *flb_input_name(struct flb_input_instance *ins)
{
    return ins->alias != NULL ? ins->alias : ins->host_name;
}

const char *flb_input_get_property(const char *key, struct flb_input_instance *ins)
{
    for (int i = 0; i < ins->option_count; i++) {
        if (ins->keys[i] != NULL && strcasecmp(ins->keys[i], key) == 0) return ins->values[i];
    }
    return NULL;
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
