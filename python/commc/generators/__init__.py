"""Deterministic generators of ONNX models in the shapes and spellings real exporters write.

`bert`, `gpt2` and `llama` hold a `Config`, `build(config, folder, ...)` which writes `model.onnx` (and `model.onnx.data`), and
`make_inputs(config, ...)` which returns one dict of arrays per call. `integers` holds models whose f32 sums are exact.
The same config and seed give the same bytes on every machine.
"""
