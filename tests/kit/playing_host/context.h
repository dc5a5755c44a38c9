/* Part of playing_host.c: a context and its instances, from loading through the event loop to exit. */

#define GRACE_MS  50   /* the host waits a second; this is enough to catch an append */
#define NS_PER_MS 1000000LL

/* ---- instances ---- */

/* Cuts the line into words at blanks outside double quotes; the quotes go. */
static int split(char *line, char **words)
{
    int count = 0;
    char *from = line, *to;

    while (count < MOST_WORDS) {
        while (isspace((unsigned char) *from)) from++;
        if (*from == '\0') break;
        words[count++] = to = from;
        for (bool quoted = false; *from != '\0' && (quoted || !isspace((unsigned char) *from)); from++) {
            if (*from == '"') {
                quoted = !quoted;
            } else {
                *to++ = *from;
            }
        }
        if (*from != '\0') from++;
        *to = '\0';
    }
    return count;
}

/* 1: a core option, taken. 0: not one, so the plugin's. -1: a core option with a bad value. */
static int take_core_option(struct flb_input_instance *ins, const char *key, char *value)
{
    static const char *const levels[] = { "off", "error", "warn", "info", "debug", "trace" };

    if (strcasecmp(key, "tag") == 0) return 1;   /* the records file shows only tags that the plugin gave */
    if (strcasecmp(key, "alias") == 0) {
        ins->alias = value;
        return 1;
    }
    if (strcasecmp(key, "mem_buf_limit") == 0 || strcasecmp(key, "storage.type") == 0) {
        return set_storage(ins, key, value) == 0 ? 1 : -1;
    }
    if (strcasecmp(key, "threaded") == 0) {
        ins->threaded = is_one_of(value, "true", "on", "yes");
        return ins->threaded || is_one_of(value, "false", "off", "no") ? 1 : -1;
    }
    if (strcasecmp(key, "log_level") == 0) {
        for (ins->log_level = CLOGS_FLB_LOG_TRACE; ins->log_level >= 0; ins->log_level--) {
            if (strcasecmp(value, levels[ins->log_level]) == 0) return 1;
        }
        return -1;
    }
    return 0;
}

static char *text_of(const char *bytes)
{
    struct text *text = some(sizeof(*text) + strlen(bytes) + 1);

    text->length = text->room = strlen(bytes);
    return strcpy(text->bytes, bytes);
}

static void free_text(char *bytes)
{
    free(bytes - offsetof(struct text, bytes));
}

static void add_property(struct flb_input_instance *ins, const char *key, const char *value)
{
    struct clogs_property *property = some(sizeof(*property));

    property->key = text_of(key);
    property->value = text_of(value);
    property->node.prev = ins->properties.prev;
    property->node.next = &ins->properties;
    ins->properties.prev->next = &property->node;
    ins->properties.prev = &property->node;
}

static void free_instance(struct flb_input_instance *ins)
{
    for (struct clogs_list_node *node = ins->properties.next, *next; node != &ins->properties; node = next) {
        struct clogs_property *property =
            (struct clogs_property *) ((char *) node - offsetof(struct clogs_property, node));

        next = node->next;
        free_text(property->key);
        free_text(property->value);
        free(property);
    }
    if (ins->option_map != NULL) flb_config_map_destroy(ins->option_map);
#ifdef METRICS
    free_cmt(ins->cmt);
#endif
    free(ins->line);
    free(ins);
}

/* False and `trouble`. Like the host's: without a table anything goes. */
static bool set_options(struct flb_input_instance *ins, void *map)
{
    ins->option_map = map != NULL ? flb_config_map_create(ins->config, map) : NULL;
    for (int i = 0; i < ins->option_count; i++) {
        char *equals = strchr(ins->keys[i], '=');
        int taken;

        if (equals == NULL) {
            fail("'%s' is no KEY=VALUE", ins->keys[i]);
            return false;
        }
        *equals = '\0';
        ins->values[i] = equals + 1;
        taken = take_core_option(ins, ins->keys[i], ins->values[i]);
        if (taken == -1) {
            fail("invalid value '%s' of %s", ins->values[i], ins->keys[i]);
            return false;
        }
        if (taken) ins->keys[i] = NULL;
        else add_property(ins, ins->keys[i], ins->values[i]);
    }
    for (int i = 0; i < ins->option_count && ins->option_map != NULL; i++) {
        if (ins->keys[i] != NULL && !check_option(ins, i)) {
            LOG(ERROR, "[config] %s: %s", PLUGIN_NAME, trouble);
            return false;
        }
    }
    return true;
}

/* From a line `instance NAME KEY=VALUE ...`; NULL and `trouble` if the options are not allowed. */
static struct flb_input_instance *create_instance(struct flb_config *config, const char *line)
{
    struct flb_input_instance *ins = some(sizeof(*ins));
    char *words[MOST_WORDS];

    ins->properties.prev = ins->properties.next = &ins->properties;
    ins->line = copy_of(line);
    ins->option_count = split(ins->line, words) - 2;
    memcpy(ins->keys, words + 2, ins->option_count * sizeof(words[0]));
    ins->name = words[1];
    snprintf(ins->host_name, sizeof(ins->host_name), "%s.%d", PLUGIN_NAME, config->instance_count);
    ins->config = config;
    ins->log_level = CLOGS_FLB_LOG_INFO;
    if (!set_options(ins, config->plugin.head.config_map)) {
        free_instance(ins);
        return NULL;
    }
    config->instances[config->instance_count++] = ins;
    return ins;
}

static void drop_last_instance(struct flb_config *config)
{
    pthread_mutex_lock(&ledger.lock);   /* against a stray thread that appends just now */
    free_instance(config->instances[--config->instance_count]);
    pthread_mutex_unlock(&ledger.lock);
}

/* ---- the event loop ---- */

static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void collect(struct flb_input_instance *ins, struct collector *collector)
{
    pthread_mutex_lock(&ledger.lock);
    ledger.calls++;
    pthread_mutex_unlock(&ledger.lock);
    collector->callback(ins, ins->config, ins->context);
    if (ins->pause_due && ins->context != NULL) call_pause(ins);
    ins->pause_due = false;
}

static bool is_reached(unsigned long long target)
{
    bool reached;

    pthread_mutex_lock(&ledger.lock);
    reached = ledger.records >= target;
    pthread_mutex_unlock(&ledger.lock);
    return reached;
}

static void turn_loop(void *argument)
{
    struct stage *stage = argument;
    struct flb_config *config = stage->config;
    struct pollfd fds[MOST_INSTANCES * MOST_COLLECTORS];
    struct { struct flb_input_instance *ins; struct collector *collector; } owners[MOST_INSTANCES * MOST_COLLECTORS];
    long long now;

    while ((now = now_ns()) < stage->deadline_ns && !is_reached(stage->target)) {
        long long wake_ns = stage->deadline_ns, wait_ms;
        int count = 0;

        for (int i = 0; i < config->instance_count; i++) {
            struct flb_input_instance *ins = config->instances[i];

            for (int j = 0; stage_of(ins) == stage && j < ins->collector_count; j++, count++) {
                struct collector *collector = &ins->collectors[j];

                fds[count] = (struct pollfd) { .fd = collector->fd, .events = POLLIN };
                owners[count].ins = ins;
                owners[count].collector = collector;
                if (collector->interval_ns > 0 && collector->due_ns < wake_ns) wake_ns = collector->due_ns;
            }
        }
        wait_ms = wake_ns > now ? (wake_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
        if (stage->target != NO_TARGET && wait_ms > 10) wait_ms = 10;   /* another stage may reach it */
        poll(fds, count, wait_ms);
        now = now_ns();
        for (int i = 0; i < count; i++) {
            struct collector *collector = owners[i].collector;

            if (fds[i].revents & POLLNVAL) {
#ifndef SHIFTED   /* there cb_exit may have come through any slot */
                violation("collector fd %d of %s was closed before cb_exit", fds[i].fd, owners[i].ins->name);
#endif
                collector->fd = -1;
            } else if (fds[i].revents != 0) {
                collect(owners[i].ins, collector);
            } else if (collector->interval_ns > 0 && collector->due_ns <= now) {
                collector->due_ns = now + collector->interval_ns;   /* missed turns are not made up for */
                collect(owners[i].ins, collector);
            }
        }
    }
}

/* Turns the loops of all threads at once. */
static void run(struct flb_config *config, long long ms, unsigned long long target)
{
    long long deadline_ns = now_ns() + ms * NS_PER_MS;
    struct stage *stages[1 + MOST_INSTANCES] = { &config->pipeline };
    int count = 1;

    for (int i = 0; i < config->instance_count; i++) {
        if (config->instances[i]->threaded) stages[count++] = &config->instances[i]->own_stage;
    }
    for (int i = 0; i < count; i++) {
        stages[i]->deadline_ns = deadline_ns;
        stages[i]->target = target;
        begin(stages[i], turn_loop, stages[i]);
    }
    for (int i = 0; i < count; i++) await(stages[i]);
}

/* ---- loading and stopping ---- */

/* NULL and `trouble` if the plugin cannot be loaded. */
static struct flb_config *open_context(void)
{
    struct flb_config *config = some(sizeof(*config));
    const void *symbol;

    config->library = dlopen(library_path, RTLD_LAZY);
    if (config->library == NULL) {
        fail("%s", dlerror());
        free(config);
        return NULL;
    }
    symbol = dlsym(config->library, PLUGIN_SYMBOL);
    if (symbol != NULL) memcpy(&config->plugin, symbol, sizeof(config->plugin));
    if (symbol == NULL || config->plugin.head.type != CLOGS_FLB_INPUT_PLUGIN_CORE
        || config->plugin.head.name == NULL || strcmp(config->plugin.head.name, PLUGIN_NAME) != 0) {
        fail("'%s' is missing or is no plugin named " PLUGIN_NAME, PLUGIN_SYMBOL);
        dlclose(config->library);
        free(config);
        return NULL;
    }
    return config;
}

static void close_context(struct flb_config *config)
{
    while (config->instance_count > 0) drop_last_instance(config);
    dlclose(config->library);
    free(config);
}

#ifdef UNWATCHED
/* The host cannot watch the descriptor: it closes it, and the number goes to the next one who opens something. */
static void lose(struct collector *collector)
{
    int stranger = memfd_create("stranger", MFD_CLOEXEC);

    LOG(ERROR, "[input collector] COLLECT_EVENT registration failed");
    if (stranger == -1 || dup3(stranger, collector->fd, O_CLOEXEC) == -1) abort();
    close(stranger);
    collector->stranger = collector->fd;
    collector->fd = -1;
}

static void check_stranger(int fd)
{
    struct stat is;

    if (fstat(fd, &is) != 0) {
        violation("descriptor %d is closed though it is somebody else's by now", fd);
        return;
    }
    if (is.st_size != 0) violation("%lld bytes were written to somebody else's file", (long long) is.st_size);
    close(fd);
}
#endif

static void exit_job(void *argument)
{
    struct flb_input_instance *ins = argument;
    struct descriptor *plugin = &ins->config->plugin;

    if (plugin->cb_exit != NULL && ins->context != NULL) plugin->cb_exit(ins->context, ins->config);
#ifdef UNWATCHED
    for (int i = 0; i < ins->collector_count; i++) check_stranger(ins->collectors[i].stranger);
#endif
}

#if GENERATION >= 51
static void pre_exit_job(void *argument)
{
    struct flb_input_instance *ins = argument;
    struct descriptor *plugin = &ins->config->plugin;

    if (plugin->cb_pre_exit != NULL && ins->context != NULL) plugin->cb_pre_exit(ins->context, ins->config);
}
#endif

static void stop_context(struct flb_config *config)
{
#ifdef METRICS
    stop_scraping();
#endif
    for (int i = 0; i < config->instance_count; i++) {
        perform(config->instances[i], pause_job);
        config->instances[i]->told_to_stop = true;
    }
    run(config, GRACE_MS, NO_TARGET);
    for (int i = 0; i < config->instance_count; i++) perform(config->instances[i], pause_job);
    while (config->instance_count > 0) {
        struct flb_input_instance *ins = config->instances[config->instance_count - 1];

#if GENERATION >= 51
        if (ins->threaded) {   /* only those are told, and from the pipeline's thread */
            begin(&config->pipeline, pre_exit_job, ins);
            await(&config->pipeline);
        }
#endif
        perform(ins, exit_job);
        if (ins->threaded) close_stage(&ins->own_stage);
        drop_last_instance(config);
    }
    close_stage(&config->pipeline);
    config->state = STOPPED;
}

/* ---- starting ---- */

static int init_result;   /* of the last init_job */

static void init_job(void *argument)
{
    struct flb_input_instance *ins = argument;

    init_result = ins->config->plugin.head.cb_init(ins, ins->config, NULL);
    if (ins->threaded && init_result != -1) init_result = 0;   /* there the host takes only -1 for a failure */
}

static void pre_run_job(void *argument)
{
    struct flb_input_instance *ins = argument;
    struct descriptor *plugin = &ins->config->plugin;

    if (plugin->head.cb_pre_run != NULL) plugin->head.cb_pre_run(ins, ins->config, ins->context);
    for (int i = 0; i < ins->collector_count; i++) {
        ins->collectors[i].due_ns = now_ns() + ins->collectors[i].interval_ns;
#ifdef UNWATCHED
        lose(&ins->collectors[i]);
#endif
    }
}

/* False and `trouble`: an instance refused to start, and the host gave up. */
static bool start_context(struct flb_config *config)
{
    char name[64];

    open_stage(&config->pipeline, config, "flb-pipeline");
    config->state = RUNNING;
    for (int i = 0; i < config->instance_count; i++) {
        struct flb_input_instance *ins = config->instances[i];

        if (ins->threaded) {
            snprintf(name, sizeof(name), "flb-in-%s-w0", ins->host_name);
            open_stage(&ins->own_stage, config, name);
        }
        perform(ins, init_job);
        if (init_result == 0) continue;
        LOG(ERROR, "failed initialize input %s", ins->host_name);
        fail("init %s", ins->name);
        if (ins->threaded) close_stage(&ins->own_stage);
        /* Neither it nor those behind it get a cb_exit; those before it do. */
        while (config->instance_count > i) drop_last_instance(config);
        stop_context(config);
        return false;
    }
#ifdef METRICS
    for (int i = 0; i < config->instance_count; i++) cmt_of(config->instances[i])->is_walked = true;
#endif
    for (int i = 0; i < config->instance_count; i++) perform(config->instances[i], pre_run_job);
    return true;
}

/* The new context is loaded and its options are checked while the old one still runs. */
static bool reload(void)
{
    struct flb_config *next = open_context(), *old = current;

    if (next == NULL) return false;
    for (int i = 0; i < declaration_count; i++) {
        if (create_instance(next, declarations[i]) == NULL) {
            close_context(next);
            return false;
        }
    }
    stop_context(old);
    current = next;
    close_context(old);
    return start_context(next);
}
