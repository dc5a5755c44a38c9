/*
 * Preloaded: malloc as an official build of Fluent Bit has it, whose jemalloc is built with
 * --with-lg-quantum=3. Blocks of its classes of 8, 24, 40 and 56 bytes may stand at an odd
 * multiple of 8; here they all do, so that whoever takes 16 for granted crashes at once.
 *
 * The C library's own blocks stand at multiples of 16, so the address tells which is which.
 * Requests with an alignment go to the C library as they are.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void  __libc_free(void *block);
extern size_t malloc_usable_size(void *block);

#define SHIFT 8

static int is_odd_class(size_t size)
{
    return size <= 56 && (size + 7) / 8 % 2 == 1;
}

static int is_shifted(const void *block)
{
    return (uintptr_t) block % 16 == SHIFT;
}

void *malloc(size_t size)
{
    char *block;

    if (!is_odd_class(size)) return __libc_malloc(size);
    block = __libc_malloc(SHIFT + size);
    /* The size is needed by realloc. */
    if (block == NULL) return NULL;
    memcpy(block, &size, sizeof(size));
    return block + SHIFT;
}

void free(void *block)
{
    __libc_free(is_shifted(block) ? (char *) block - SHIFT : block);
}

void *calloc(size_t count, size_t size)
{
    void *block;

    if (size != 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    if (!is_odd_class(count * size)) return __libc_calloc(count, size);
    block = malloc(count * size);
    return block != NULL ? memset(block, 0, count * size) : NULL;
}

void *realloc(void *block, size_t size)
{
    void *moved;
    size_t before;

    if (block == NULL) return malloc(size);
    if (!is_shifted(block) && !is_odd_class(size)) return __libc_realloc(block, size);
    if (size == 0) {
        free(block);
        return NULL;
    }
    moved = malloc(size);
    if (moved == NULL) return NULL;
    if (is_shifted(block)) {
        memcpy(&before, (char *) block - SHIFT, sizeof(before));
    } else {
        before = malloc_usable_size(block);
    }
    memcpy(moved, block, before < size ? before : size);
    free(block);
    return moved;
}
