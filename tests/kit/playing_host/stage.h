/* Part of playing_host.c: the host's threads, lent to the main thread for one job at a time. */

static void *stage_main(void *argument)
{
    struct stage *stage = argument;

    prctl(PR_SET_NAME, stage->name);   /* cuts at 15 characters, as the host's does */
    pthread_mutex_lock(&stage->lock);
    while (!stage->leaving) {
        if (stage->job == NULL) {
            pthread_cond_wait(&stage->changed, &stage->lock);
            continue;
        }
        pthread_mutex_unlock(&stage->lock);
        stage->job(stage->argument);
        pthread_mutex_lock(&stage->lock);
        stage->job = NULL;
        pthread_cond_broadcast(&stage->changed);
    }
    pthread_mutex_unlock(&stage->lock);
    return NULL;
}

static void open_stage(struct stage *stage, struct flb_config *config, const char *name)
{
    snprintf(stage->name, sizeof(stage->name), "%s", name);
    stage->config = config;
    pthread_mutex_init(&stage->lock, NULL);
    pthread_cond_init(&stage->changed, NULL);
    if (pthread_create(&stage->thread, NULL, stage_main, stage) != 0) abort();
}

static void close_stage(struct stage *stage)
{
    pthread_mutex_lock(&stage->lock);
    stage->leaving = true;
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
    pthread_join(stage->thread, NULL);
    pthread_mutex_destroy(&stage->lock);
    pthread_cond_destroy(&stage->changed);
}

static void begin(struct stage *stage, void (*job)(void *), void *argument)
{
    pthread_mutex_lock(&stage->lock);
    stage->argument = argument;
    stage->job = job;
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
}

static void await(struct stage *stage)
{
    pthread_mutex_lock(&stage->lock);
    while (stage->job != NULL) pthread_cond_wait(&stage->changed, &stage->lock);
    pthread_mutex_unlock(&stage->lock);
}

static struct stage *stage_of(struct flb_input_instance *ins)
{
    return ins->threaded ? &ins->own_stage : &ins->config->pipeline;
}

static void perform(struct flb_input_instance *ins, void (*job)(void *))
{
    begin(stage_of(ins), job, ins);
    await(stage_of(ins));
}
