"""commc. --variant FORM[:RANKS][+PRECISION][+state], e.g. plain:2 or plain:1+bf16 (commc --precision), with --threads N compute threads per rank.
Compiles the ONNX file of the work, then calls the executable in this process through the C interface of the runtime, on buffers of the ranks. With
state the session carries the cache: a window of it that slides by one token per call."""
import sys, tempfile
from pathlib import Path
import common as C

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))


def setup():
    from commc import arrays, runtime, tools
    a = C.args()
    variant, *modes = a.variant.split("+")
    form, _, ranks = variant.partition(":")
    precision = next((m for m in modes if m != "state"), None)
    inputs = C.make(a.work)[1]
    with tempfile.TemporaryDirectory() as folder:
        shapes, target = Path(folder) / "inputs.npz", Path(folder) / "m.commx"
        arrays.save(shapes, inputs)
        tools.compile_model(Path(a.models) / f"{a.work}.{form}.onnx", target, int(ranks or 1), [shapes],
                            *([f"--precision={precision}"] if precision else []))
        session = runtime.Session(runtime.Executable(target), threads=a.threads)
    if "state" in modes:
        session.keep_state("last")
        for past in [k for k in inputs if k.startswith("past_")]:
            session.set_state(past, inputs.pop(past))
    call = session.bind(inputs, 0, in_place=True)
    return call, lambda: call.outputs[C.output(a.work)]


C.serve(setup)
