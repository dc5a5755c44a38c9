/* Part of playing_host.c, with -DMETRICS: cmetrics, and a thread that walks it as a threaded input of the host does. */

/*
 * As in cmetrics, a metric is put into its list before it is whole, a series when it is whole, and
 * a destroyed one is freed at once. Links are stored and loaded in order, which x86-64 does by itself;
 * so what ThreadSanitizer finds here is ours.
 */
struct series {
    struct series  *next;
    uint64_t        value;         /* the bits of a double */
    uint64_t       *buckets;       /* of a histogram */
    int             label_count;
    char          **labels;
};

struct metric {
    struct metric  *next;
    struct cmt     *cmt;
    char           *name;          /* NULL: not whole yet */
    char            kind;          /* c, g, h */
    size_t          bucket_count;
    bool            may_reset;
    struct series  *series;
};

struct cmt {
    struct metric  *metrics;
    bool            is_walked;     /* a collector may run: nothing is made or destroyed any more */
};

#define LOAD(place)         __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)

static struct cmt *cmt_of(struct flb_input_instance *ins)
{
    if (ins->cmt == NULL) ins->cmt = some(sizeof(struct cmt));
    return ins->cmt;
}

void *flb_input_get_cmt_instance(struct flb_input_instance *ins)
{
    return may_call(ins, __func__) ? cmt_of(ins) : NULL;
}

static void free_metric(struct metric *metric)
{
    for (struct series *series = metric->series, *next; series != NULL; series = next) {
        next = series->next;
        for (int i = 0; i < series->label_count; i++) free(series->labels[i]);
        free(series->labels);
        free(series->buckets);
        free(series);
    }
    free(metric->name);
    free(metric);
}

static void free_cmt(struct cmt *cmt)
{
    for (struct metric *metric = cmt != NULL ? cmt->metrics : NULL, *next; metric != NULL; metric = next) {
        next = metric->next;
        free_metric(metric);
    }
    free(cmt);
}

static struct metric *make(struct cmt *cmt, const char *name, char kind, size_t bucket_count)
{
    struct metric *metric = some(sizeof(*metric)), **last = &cmt->metrics;

    if (cmt->is_walked) violation("metric %s is made while another thread may walk them", name);
    while (*last != NULL) last = &(*last)->next;
    STORE(*last, metric);
    metric->cmt = cmt;
    metric->kind = kind;
    metric->bucket_count = bucket_count;
    STORE(metric->name, copy_of(name));
    return metric;
}

static struct series *find_series(struct metric *metric, int count, char **labels)
{
    struct series *series, **last = &metric->series;

    for (; (series = *last) != NULL; last = &series->next) {
        bool same = series->label_count == count;

        for (int i = 0; same && i < count; i++) same = strcmp(series->labels[i], labels[i]) == 0;
        if (same) return series;
    }
    series = some(sizeof(*series));
    series->label_count = count;
    series->labels = some(count * sizeof(char *));
    for (int i = 0; i < count; i++) series->labels[i] = copy_of(labels[i]);
    STORE(*last, series);
    return series;
}

static double value_of(struct series *series)
{
    uint64_t bits = LOAD(series->value);
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static int set_value(struct metric *metric, double value, int count, char **labels)
{
    struct series *series = find_series(metric, count, labels);
    uint64_t bits;

    if (metric->kind == 'c' && !metric->may_reset && value < value_of(series)) {
        violation("counter %s is set back", metric->name);
        return -1;
    }
    memcpy(&bits, &value, sizeof(bits));
    STORE(series->value, bits);
    return 0;
}

static int destroy(struct metric *metric)
{
    struct metric **link = &metric->cmt->metrics;

    if (metric->cmt->is_walked) violation("metric %s is destroyed while another thread may walk it", metric->name);
    while (*link != metric) link = &(*link)->next;
    STORE(*link, metric->next);
    free_metric(metric);
    return 0;
}

void *cmt_counter_create(void *cmt, char *ns, char *subsystem, char *name, char *help, int count, char **keys)
{
    (void) ns, (void) subsystem, (void) help, (void) count, (void) keys;
    return make(cmt, name, 'c', 0);
}

void *cmt_gauge_create(void *cmt, char *ns, char *subsystem, char *name, char *help, int count, char **keys)
{
    (void) ns, (void) subsystem, (void) help, (void) count, (void) keys;
    return make(cmt, name, 'g', 0);
}

void *cmt_histogram_create(void *cmt, char *ns, char *subsystem, char *name, char *help, void *buckets, int count,
                           char **keys)
{
    size_t bucket_count = *(size_t *) buckets;

    (void) ns, (void) subsystem, (void) help, (void) count, (void) keys;
    free(buckets);
    return make(cmt, name, 'h', bucket_count);
}

void *cmt_histogram_buckets_create_size(double *bounds, size_t count)
{
    size_t *buckets = some(sizeof(*buckets));

    (void) bounds;
    *buckets = count;
    return buckets;
}

void cmt_counter_allow_reset(void *counter)
{
    ((struct metric *) counter)->may_reset = true;
}

int cmt_counter_set(void *metric, uint64_t time, double value, int count, char **labels)
{
    (void) time;
    return set_value(metric, value, count, labels);
}

int cmt_gauge_set(void *metric, uint64_t time, double value, int count, char **labels)
{
    (void) time;
    return set_value(metric, value, count, labels);
}

int cmt_histogram_set_default(void *histogram, uint64_t time, uint64_t *counts, double sum, uint64_t all, int count,
                              char **labels)
{
    struct metric *metric = histogram;
    struct series *series = find_series(metric, count, labels);

    (void) time, (void) sum;
    if (LOAD(series->buckets) == NULL) STORE(series->buckets, some((metric->bucket_count + 1) * sizeof(uint64_t)));
    for (size_t i = 0; i <= metric->bucket_count; i++) STORE(series->buckets[i], counts[i]);
    STORE(series->value, all);
    return 0;
}

int cmt_counter_destroy(void *metric) { return destroy(metric); }
int cmt_gauge_destroy(void *metric) { return destroy(metric); }
int cmt_histogram_destroy(void *metric) { return destroy(metric); }

/* ---- the thread that scrapes ---- */

static struct {
    pthread_t          thread;
    bool               is_running, is_leaving;
    unsigned long long walks, series;
} scraper;

static unsigned long long walk(struct cmt *cmt)
{
    static volatile unsigned long long sink;
    unsigned long long count = 0;

    for (struct metric *metric = LOAD(cmt->metrics); metric != NULL; metric = LOAD(metric->next)) {
        if (LOAD(metric->name) == NULL) {
            violation("a metric is walked that is not whole");
            continue;
        }
        for (struct series *series = LOAD(metric->series); series != NULL; series = LOAD(series->next)) {
            for (int i = 0; i < series->label_count; i++) sink += strlen(series->labels[i]);
            sink += LOAD(series->value);
            if (metric->kind == 'h' && LOAD(series->buckets) == NULL) {
                violation("histogram %s is walked before it was set", metric->name);
            }
            count++;
        }
    }
    return count;
}

static void *scrape(void *argument)
{
    struct flb_config *config = argument;

    prctl(PR_SET_NAME, "flb-in-scraper");
    while (!LOAD(scraper.is_leaving)) {
        unsigned long long series = 0;

        for (int i = 0; i < config->instance_count; i++) series += walk(cmt_of(config->instances[i]));
        STORE(scraper.series, series);
        STORE(scraper.walks, scraper.walks + 1);
    }
    return NULL;
}

static void start_scraping(struct flb_config *config)
{
    scraper.is_leaving = false;
    scraper.is_running = pthread_create(&scraper.thread, NULL, scrape, config) == 0;
}

static void stop_scraping(void)
{
    if (!scraper.is_running) return;
    STORE(scraper.is_leaving, true);
    pthread_join(scraper.thread, NULL);
    scraper.is_running = false;
}

/* NAME{LABEL,LABEL}=VALUE of all series whose name begins so; the blanks in labels become underscores. */
static void print_metrics(struct flb_input_instance *ins, const char *prefix)
{
    for (struct metric *metric = cmt_of(ins)->metrics; metric != NULL; metric = metric->next) {
        if (strncmp(metric->name, prefix, strlen(prefix)) != 0) continue;
        for (struct series *series = metric->series; series != NULL; series = series->next) {
            printf(" %s{", metric->name);
            for (int i = 0; i < series->label_count; i++) {
                for (const char *at = series->labels[i]; *at != '\0'; at++) putchar(*at == ' ' ? '_' : *at);
                if (i + 1 < series->label_count) putchar(',');
            }
            printf("}=%g", value_of(series));
        }
    }
}
