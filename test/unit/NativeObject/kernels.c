/* Compiled to relocatable objects for NativeObjectTest: constants, calls between functions, several sections. */
typedef long int64;
static const float weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};

__attribute__((noinline)) static float pick(int64 i) { return weights[i & 7]; }

__attribute__((section(".text.scale"))) void scale(void *const *buffers, int64 begin, int64 end) {
  const float *in = (const float *)buffers[0];
  float *out = (float *)buffers[1];
  for (int64 i = begin; i < end; ++i)
    out[i] = in[i] * pick(i) + 0.5f;
}

/* A table of addresses: absolute relocations in constants. Compilers put one in a writable section, so it is written by
 * hand. */
__attribute__((used)) static void addOne(float *x) { *x += 1.0f; }
__attribute__((used)) static void twice(float *x) { *x *= 2.0f; }
__attribute__((used)) static void negate(float *x) { *x = -*x; }
extern void (*const actions[3])(float *) __attribute__((visibility("hidden")));
__asm__(".section .rodata.actions,\"a\",@progbits\n.balign 8\n.hidden actions\n.globl actions\nactions: .quad addOne, "
        "twice, negate\n.text\n");

void choose(void *const *buffers, int64 begin, int64 end) {
  float *out = (float *)buffers[0];
  for (int64 i = begin; i < end; ++i)
    actions[i % 3](out + i);
}
