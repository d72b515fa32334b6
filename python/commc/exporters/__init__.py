"""Exporters that write ONNX from published weights without a framework."""
