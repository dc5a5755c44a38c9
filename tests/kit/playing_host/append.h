/* Part of playing_host.c: the append, what it checks and writes, and the pauses it causes. */

/* ---- pausing ---- */

static bool is_paused(const struct flb_input_instance *ins)
{
    return ins->paused_by_memory || ins->paused_by_storage;
}

static void call_pause(struct flb_input_instance *ins)
{
    struct descriptor *plugin = &ins->config->plugin;

#if GENERATION >= 51
    if (plugin->cb_pause_checked != NULL) {
        plugin->cb_pause_checked(ins->context, ins->config);
        return;
    }
#endif
    if (plugin->cb_pause != NULL) plugin->cb_pause(ins->context, ins->config);
}

static void call_resume(struct flb_input_instance *ins)
{
    struct descriptor *plugin = &ins->config->plugin;

#if GENERATION >= 51
    if (plugin->cb_resume_checked != NULL) {
        plugin->cb_resume_checked(ins->context, ins->config);
        return;
    }
#endif
    if (plugin->cb_resume != NULL) plugin->cb_resume(ins->context, ins->config);
}

/* On the instance's thread. What a limit has paused hears nothing of a second reason, not even of a shutdown. */
static void pause_job(void *argument)
{
    struct flb_input_instance *ins = argument;

    if (is_paused(ins) || ins->context == NULL) return;
    LOG(INFO, "[input] pausing %s", flb_input_name(ins));
    call_pause(ins);
}

static void resume_job(void *argument)
{
    struct flb_input_instance *ins = argument;

    if (ins->context == NULL) return;
    LOG(INFO, "[input] resume %s", flb_input_name(ins));
    call_resume(ins);
}

/* Still inside the append. The host marks the instance paused only after cb_pause has returned. */
static void protect_memory(struct flb_input_instance *ins)
{
    if (ins->limit == 0 || ins->storage_type != IN_MEMORY || ins->held < ins->limit || is_paused(ins)) return;
    LOG(WARN, "[input] %s paused (mem buf overlimit %llu/%llu)", flb_input_name(ins), ins->held, ins->limit);
    if (ins->threaded) {
        ins->pause_due = true;
    } else {
        pause_job(ins);
    }
    ins->paused_by_memory = true;
}

/* ---- checks ---- */

static bool is_live(const struct flb_input_instance *ins)
{
    for (int i = 0; current != NULL && i < current->instance_count; i++) {
        if (current->instances[i] == ins) return true;
    }
    return false;
}

/* The instance still exists, and its own thread is the one that asks. */
static bool may_call(struct flb_input_instance *ins, const char *function)
{
    char comm[16] = "";

    if (!is_live(ins)) {
        violation("%s for an instance that does not exist (any more)", function);
        return false;
    }
    if (!pthread_equal(pthread_self(), stage_of(ins)->thread)) {
        prctl(PR_GET_NAME, comm);
        violation("%s for %s on the wrong thread (%s)", function, ins->name, comm);
        return false;
    }
    return true;
}

/* The size of the MessagePack object that starts here; 0 if it is no object or ends too late. */
static size_t object_size(const uint8_t *bytes, size_t size)
{
    uint64_t wanted = 1;   /* objects still to skip: a container adds its members */
    size_t at = 0;

    while (wanted > 0) {
        uint64_t body = 0, members = 0, length = 0;
        size_t width = 0;   /* of the length that follows the type */
        uint8_t type;

        if (at == size) return 0;
        type = bytes[at++];
        switch (type) {
        case 0xc4: case 0xc7: case 0xd9:                       width = 1; break;
        case 0xc5: case 0xc8: case 0xda: case 0xdc: case 0xde: width = 2; break;
        case 0xc6: case 0xc9: case 0xdb: case 0xdd: case 0xdf: width = 4; break;
        }
        if (width > size - at) return 0;
        while (width-- > 0) length = length << 8 | bytes[at++];

        if (type <= 0x7f || type >= 0xe0) { }                        /* small integers */
        else if (type <= 0x8f) members = 2 * (type & 0x0f);          /* small map */
        else if (type <= 0x9f) members = type & 0x0f;                /* small array */
        else if (type <= 0xbf) body = type & 0x1f;                   /* small string */
        else if (type == 0xc1) return 0;                             /* never used */
        else if (type <= 0xc3) { }                                   /* nil, false, true */
        else if (type <= 0xc6) body = length;                        /* binary */
        else if (type <= 0xc9) body = length + 1;                    /* extension and its type */
        else if (type <= 0xcb) body = 4u << (type - 0xca);           /* floats */
        else if (type <= 0xcf) body = 1u << (type - 0xcc);           /* unsigned */
        else if (type <= 0xd3) body = 1u << (type - 0xd0);           /* signed */
        else if (type <= 0xd8) body = 1 + (1u << (type - 0xd4));     /* fixed extension */
        else if (type <= 0xdb) body = length;                        /* string */
        else members = type <= 0xdd ? length : 2 * length;           /* array, map */

        if (body > size - at) return 0;
        at += body;
        wanted += members - 1;
    }
    return at;
}

static void check_records(struct flb_input_instance *ins, size_t records, const uint8_t *bytes, size_t size)
{
    size_t found = 0, at = 0, step;

    for (; at < size; at += step, found++) {
        step = object_size(bytes + at, size - at);
        if (step == 0) {
            violation("append for %s: broken MessagePack at byte %zu of %zu", ins->name, at, size);
            return;
        }
    }
    if (found != records) {
        violation("append for %s: %zu records announced, %zu given", ins->name, records, found);
    }
}

/* ---- the append ---- */

static void write_frame(struct flb_input_instance *ins, size_t records, const char *tag, size_t tag_len,
                        const void *buf, size_t size)
{
    uint32_t name_length = htonl(strlen(ins->name));
    uint32_t tag_length = htonl(tag != NULL ? tag_len : UINT32_MAX);
    uint32_t lengths[2] = { htonl(records), htonl(size) };
    struct iovec parts[] = {
        { &name_length, sizeof(name_length) }, { ins->name, strlen(ins->name) },
        { &tag_length, sizeof(tag_length) },   { (void *) tag, tag != NULL ? tag_len : 0 },
        { lengths, sizeof(lengths) },          { (void *) buf, size },
    };
    size_t whole = 0, part;

    for (part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) whole += parts[part].iov_len;
    if (writev(ledger.file, parts, part) != (ssize_t) whole) {
        perror("playing_host: records file");
        abort();
    }
}

static bool has_no_room(const struct flb_input_instance *ins, const char *tag, size_t tag_len, size_t size)
{
    if (ins->refused_tag[0] != 0 && tag != NULL && strlen(ins->refused_tag) == tag_len &&
        memcmp(tag, ins->refused_tag, tag_len) == 0) return true;
    return (ins->refuses_above != 0 && size > ins->refuses_above) || (ins->room != 0 && ins->held + size > ins->room);
}

__attribute__((unused))   /* with MISSING_APPEND */
static int append(struct flb_input_instance *ins, size_t records, const char *tag, size_t tag_len,
                  const void *buf, size_t size)
{
    bool accepted = false, known;

    pthread_mutex_lock(&ledger.lock);
    known = may_call(ins, "append");
    if (known && ins->refusals > 0) {
        ins->refusals--;
    } else if (known && has_no_room(ins, tag, tag_len, size)) {
        /* as an output's storage.total_limit_size does it, for one route or all */
    } else if (known && ins->partly > 0) {
        /* as with conditional routes: the first has room, the second has none */
        ins->partly--;
        write_frame(ins, records, tag, tag_len, buf, size);
        ins->held += size;
    } else if (known && size > 0 && !is_paused(ins)) {
        accepted = true;
        if (ins->told_to_stop) {
            violation("append for %s after the cb_pause of the shutdown: the host would never finish", ins->name);
        }
        check_records(ins, records, buf, size);
        write_frame(ins, records, tag, tag_len, buf, size);
        ins->held += size;
        ledger.records += records;
        ledger.appends++;
    }
    ledger.refused += !accepted;
    pthread_mutex_unlock(&ledger.lock);
    if (accepted) protect_memory(ins);
    return accepted ? 0 : -1;
}

#ifndef MISSING_APPEND
int flb_input_log_append_records(struct flb_input_instance *ins, size_t records, const char *tag, size_t tag_len,
                                 const void *buf, size_t size)
{
    return append(ins, records, tag, tag_len, buf, size);
}
#endif
