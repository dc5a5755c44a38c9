/*
 * A Fluent Bit filter that changes nothing and writes down what passes: it is
 * called inside the input's append, so its clock is the time of the append.
 *
 *   CLOGS_PROBE       a file of at least PROBE_BYTES, mapped and written in place
 *   CLOGS_PROBE_LOOKS texts: the text of each record is hashed; fields: all its fields, too;
 *                     else only the time of the last append is kept, at the price of a
 *                     clock call
 *
 * The bench reads the file while the host runs (benches/side_by_side/probe.rs).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST_SAMPLES (4u << 20)
#define FILTER_LOGS 1
#define FILTER_NOTOUCH 2
/* Texts that begin so are counted, and their delay is not sampled. */
#define UNSAMPLED '~'

struct probe {
    uint64_t records;
    uint64_t texts;          /* sum of the hashes of all texts */
    uint64_t timed_texts;    /* the same, each mixed with its record's time */
    uint64_t samples;
    uint64_t first_append;   /* nanoseconds since 1970 */
    uint64_t last_append;
    uint64_t bytes;
    uint64_t malformed;
    uint64_t fields;         /* sum of the hashes of all texts, each with its record's other fields */
    uint32_t delays[MOST_SAMPLES];   /* microseconds from a record's time to its append */
};

static struct probe *probe;
static int looks_at_texts, looks_at_fields;

static uint64_t now_nanos(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

static uint64_t big_endian(const uint8_t *at, int bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0) value = value << 8 | *at++;
    return value;
}

/* What a MessagePack header says: bytes of header, bytes of content, values inside. */
struct header {
    size_t own, content, values;
};

static int read_header(const uint8_t *at, size_t left, struct header *header)
{
    static const uint8_t fixed[] = {   /* 0xc0 to 0xdf: bytes behind the first */
        0, 0, 0, 0, 1, 2, 4, 2, 3, 5, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4
    };
    uint8_t byte = *at;

    *header = (struct header) { 1, 0, 0 };
    if (byte < 0x80 || byte >= 0xe0) return 1;
    if (byte < 0x90) header->values = 2 * (byte & 0x0f);
    else if (byte < 0xa0) header->values = byte & 0x0f;
    else if (byte < 0xc0) header->content = byte & 0x1f;
    else {
        int behind = fixed[byte - 0xc0];

        header->own += behind;
        if (header->own > left) return 0;
        if ((byte >= 0xc4 && byte <= 0xc6) || (byte >= 0xd9 && byte <= 0xdb)) {
            header->content = big_endian(at + 1, behind);
        }
        else if (byte >= 0xc7 && byte <= 0xc9) header->content = big_endian(at + 1, behind - 1);
        else if (byte == 0xdc || byte == 0xdd) header->values = big_endian(at + 1, behind);
        else if (byte == 0xde || byte == 0xdf) header->values = 2 * big_endian(at + 1, behind);
    }
    return header->content <= left - header->own;
}

/* Bytes of the value at `at` with all inside it; 0 where it is cut off. */
static size_t value_bytes(const uint8_t *at, size_t left)
{
    size_t pending = 1, passed = 0;

    while (pending > 0) {
        struct header header;

        if (passed >= left || !read_header(at + passed, left - passed, &header)) return 0;
        passed += header.own + header.content;
        pending += header.values - 1;
    }
    return passed;
}

/* FNV-1a, which is begun with FNV_BASIS. */
#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static uint64_t hash_bytes(uint64_t hash, const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ at[i]) * FNV_PRIME;
    return hash;
}

/* What is not negative, in any of its sizes; 0 where it is another value. */
static int read_number(const uint8_t *at, size_t bytes, uint64_t *number)
{
    if (*at < 0x80) *number = *at;
    else if (*at >= 0xcc && *at <= 0xcf) *number = big_endian(at + 1, (int) bytes - 1);
    else return 0;
    return 1;
}

/* A string by its content and a number by its value, which have more than one encoding; else as it
 * is encoded. */
static uint64_t hash_value(uint64_t hash, const uint8_t *at, size_t bytes)
{
    struct header header;
    uint64_t number;
    uint8_t digits[8];

    if (read_number(at, bytes, &number)) {
        for (int i = 0; i < 8; i++) digits[i] = (uint8_t) (number >> (56 - 8 * i));
        return hash_bytes(hash, digits, sizeof(digits));
    }
    if (read_header(at, bytes, &header) && header.content > 0) {
        return hash_bytes(hash, at + header.own, header.content);
    }
    return hash_bytes(hash, at, bytes);
}

/* A key and its value; the sum over those of a record is the same in any order. */
static uint64_t hash_field(const uint8_t *key, size_t key_bytes, size_t value_bytes)
{
    uint64_t hash = hash_value(FNV_BASIS, key, key_bytes);

    return hash_value((hash ^ '=') * FNV_PRIME, key + key_bytes, value_bytes);
}

/* `fields` is the sum over the other fields. */
static void take_text(const uint8_t *text, size_t bytes, uint64_t fields, uint64_t time, uint64_t now)
{
    uint64_t hash;

    if (bytes > 0 && text[bytes - 1] == '\n') bytes--;   /* tail keeps the line feed */
    hash = hash_bytes(FNV_BASIS, text, bytes);
    probe->texts += hash;
    probe->timed_texts += (hash ^ time) * FNV_PRIME;
    probe->fields += (hash ^ fields) * FNV_PRIME;
    if (bytes > 0 && text[0] == UNSAMPLED) return;
    if (probe->samples < MOST_SAMPLES) {
        uint64_t micros = now > time ? (now - time) / 1000 : 0;

        probe->delays[probe->samples++] = micros < UINT32_MAX ? (uint32_t) micros : UINT32_MAX;
    }
}

/* [[EventTime, {}], {"log": ..., ...}] */
static int take_record(const uint8_t *at, size_t left, uint64_t now)
{
    const uint8_t *end = at + left;
    struct header header;
    const uint8_t *text = at;
    uint64_t time, fields = 0;
    size_t head, pairs, text_bytes = 0;

    if (left < 13 || at[0] != 0x92 || at[1] != 0x92 || at[2] != 0xd7) return 0;
    time = big_endian(at + 4, 4) * 1000000000u + big_endian(at + 8, 4);
    head = value_bytes(at + 1, left - 1);
    if (head == 0 || 1 + head >= left) return 0;
    at += 1 + head;
    if (!read_header(at, end - at, &header)) return 0;
    at += header.own;
    for (pairs = header.values / 2; pairs > 0; pairs--) {
        size_t key = value_bytes(at, end - at), value;

        if (key == 0) return 0;
        value = value_bytes(at + key, end - at - key);
        if (value == 0) return 0;
        if (key == 4 && memcmp(at, "\xa3log", 4) == 0) {
            if (!read_header(at + key, value, &header)) return 0;
            text = at + key + header.own;
            text_bytes = header.content;
        }
        else if (looks_at_fields) fields += hash_field(at, key, value);
        at += key + value;
    }
    /* Fields that were in the text may have replaced it. */
    take_text(text, text_bytes, fields, time, now);
    return 1;
}

static int filter(const void *data, size_t bytes, const char *tag, int tag_bytes, void **out,
                  size_t *out_bytes, void *filter_instance, void *input_instance, void *context, void *config)
{
    const uint8_t *at = data;
    uint64_t now = now_nanos();

    (void) tag, (void) tag_bytes, (void) out, (void) out_bytes;
    (void) filter_instance, (void) input_instance, (void) context, (void) config;
    if (probe == NULL) return FILTER_NOTOUCH;
    if (probe->first_append == 0) probe->first_append = now;
    while (looks_at_texts && bytes > 0) {
        size_t record = value_bytes(at, bytes);

        if (record == 0 || !take_record(at, record, now)) probe->malformed++;
        if (record == 0) break;
        probe->records++;
        at += record;
        bytes -= record;
    }
    probe->bytes += at == data ? bytes : (size_t) (at - (const uint8_t *) data);
    __atomic_store_n(&probe->last_append, now, __ATOMIC_RELEASE);
    return FILTER_NOTOUCH;
}

static int init(void *instance, void *config, void *data)
{
    const char *path = getenv("CLOGS_PROBE"), *looks = getenv("CLOGS_PROBE_LOOKS");
    int file = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped;

    (void) instance, (void) config, (void) data;
    if (file < 0) return -1;
    mapped = mmap(NULL, sizeof(struct probe), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return -1;
    probe = mapped;
    looks_at_fields = looks != NULL && strcmp(looks, "fields") == 0;
    looks_at_texts = looks_at_fields || (looks != NULL && strcmp(looks, "texts") == 0);
    return 0;
}

/* The host copies as much of this as its own struct has; the rest is zero. */
union {
    struct {
        int event_type;
        int flags;
        const char *name;
        const char *description;
        void *config_map;
        void *pre_run;
        int (*init)(void *, void *, void *);
        int (*filter)(const void *, size_t, const char *, int, void **, size_t *, void *, void *, void *, void *);
        void *exit;
    } plugin;
    char room[512];
} filter_clogs_probe_plugin = {
    .plugin = {
        .event_type = FILTER_LOGS,
        .name = "clogs_probe",
        .description = "Notes what is appended",
        .init = init,
        .filter = filter,
    }
};
