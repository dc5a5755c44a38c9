/* Part of playing_host.c: option values, and the option table walked by this host's own entry size. */

static bool is_one_of(const char *text, const char *first, const char *second, const char *third)
{
    return strcasecmp(text, first) == 0 || strcasecmp(text, second) == 0 || strcasecmp(text, third) == 0;
}

/* Sizes count in thousands, as the host's do; -1 for no size. */
static long long bytes_of(const char *text)
{
    char *end;
    long long size = strtoll(text, &end, 10);

    if (end == text || size < 0) return -1;
    switch (toupper((unsigned char) *end)) {
    case 'G': size *= 1000; /* fall through */
    case 'M': size *= 1000; /* fall through */
    case 'K': size *= 1000; end++;
    }
    if (toupper((unsigned char) *end) == 'B') end++;
    return *end == '\0' ? size : -1;
}

static struct option *option_at(struct clogs_list_node *node)
{
    return (struct option *) ((char *) node - offsetof(struct option, node));
}

static struct clogs_list_node *new_list(void)
{
    struct clogs_list_node *list = some(sizeof(*list));

    list->prev = list->next = list;
    return list;
}

/* The plugin learns OPTION_SIZE by calling this with entries at several distances. */
struct clogs_list_node *flb_config_map_create(struct flb_config *config, void *map)
{
    struct clogs_list_node *list = new_list();

    for (const struct option *entry = map; entry != NULL && entry->head.name != NULL; entry++) {
        struct option *option = some(sizeof(*option));

        option->head = entry->head;
        option->head.name = copy_of(entry->head.name);
        if (entry->head.flags & CLOGS_FLB_CONFIG_MAP_MULT) option->values = new_list();
        option->node.prev = list->prev;
        option->node.next = list;
        list->prev->next = &option->node;
        list->prev = &option->node;
        if (entry->head.def_value == NULL) continue;
        if (config == NULL) {
            violation("option '%s' has a default but no configuration: the host would crash", entry->head.name);
        }
        option->head.def_value = copy_of(entry->head.def_value);
        if (entry->head.type == CLOGS_FLB_CONFIG_MAP_STR) option->text = copy_of(entry->head.def_value);
    }
    return list;
}

void flb_config_map_destroy(struct clogs_list_node *list)
{
    for (struct clogs_list_node *node = list->next, *next; node != list; node = next) {
        struct option *option = option_at(node);

        next = node->next;
        free(option->head.name);
        free(option->head.def_value);
        free(option->text);
        free(option->values);
        free(option);
    }
    free(list);
}

/* False and `trouble`, in the host's words, if the plugin's table does not allow option `i`. */
static bool check_option(const struct flb_input_instance *ins, int i)
{
    struct clogs_list_node *list = ins->option_map, *node = list->next;
    int times = 0;

    while (node != list && strcasecmp(option_at(node)->head.name, ins->keys[i]) != 0) node = node->next;
    if (node == list) {
        fail("unknown configuration property '%s'. The following properties are allowed: ", ins->keys[i]);
        for (node = list->next; node != list; node = node->next) {
            size_t used = strlen(trouble);

            snprintf(trouble + used, sizeof(trouble) - used, "%s%s%s",
                     node->next == list && node->prev != list ? "and " : "",
                     option_at(node)->head.name, node->next == list ? "." : ", ");
        }
        return false;
    }
    for (int j = 0; j < ins->option_count; j++) {
        times += ins->keys[j] != NULL && strcasecmp(ins->keys[j], ins->keys[i]) == 0;
    }
    if (times > 1 && !(option_at(node)->head.flags & CLOGS_FLB_CONFIG_MAP_MULT)) {
        fail("configuration property '%s' is set %d times", ins->keys[i], times);
        return false;
    }
    return true;
}
