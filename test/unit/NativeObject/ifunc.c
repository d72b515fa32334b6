/* An indirect function: its resolver would run while loading. Refused. */
static void plain(void *const *buffers, long begin, long end) {}
static void (*resolve(void))(void *const *, long, long) { return plain; }
void k(void *const *buffers, long begin, long end) __attribute__((ifunc("resolve")));
