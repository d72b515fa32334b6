"""commc from Python: model exporters, model generators, the demo, and the conformance runner.

Everything here drives the command line tools `commc` and `commrun`; nothing imports a framework. Modules that are programs:

    python -m commc.demo         two transformers on 1, 2 and 4 ranks, compared with ONNX Runtime
    python -m commc.generate     writes a generated model with inputs and, on request, expected outputs
    python -m commc.conformance  runs the ONNX node tests through the compiler
"""

__version__ = "0.1.0"
