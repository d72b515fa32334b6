/* An import: the loader must refuse it. */
extern float expf(float);
void k(void *const *buffers, long begin, long end) {
  float *out = (float *)buffers[0];
  for (long i = begin; i < end; ++i)
    out[i] = expf(out[i]);
}
