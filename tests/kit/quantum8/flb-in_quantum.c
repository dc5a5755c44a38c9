/*
 * Loaded by a host in a plugin's place: asks its allocator for blocks of 24 bytes, says
 * whether any of them is aligned to 8 only, and ends the host.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void probe(void)
{
    void *volatile blocks[64];
    int shifted = 0;

    for (int i = 0; i < 64; i++) {
        blocks[i] = malloc(24);
        shifted += (uintptr_t) blocks[i] % 16 != 0;
    }
    printf("quantum %d\n", shifted > 0 ? 8 : 16);
    fflush(stdout);
    _exit(0);
}
