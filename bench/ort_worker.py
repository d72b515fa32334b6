"""Holds one ONNX Runtime session and times blocks of calls on request, in a process of its own.

    ort_worker.py MODEL INPUTS.npz THREADS

Prints {"ready": true}, then answers each line "COUNT" with {"ms": [milliseconds per call, ...]}; one untimed call comes before each block.
"""

import json
import sys
import time
from pathlib import Path

from commc import arrays, reference


def main() -> None:
    session = reference.session(Path(sys.argv[1]), int(sys.argv[3]))
    inputs = arrays.load(Path(sys.argv[2]))
    session.run(None, inputs)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        session.run(None, inputs)
        times = []
        for _ in range(int(line)):
            started = time.perf_counter()
            session.run(None, inputs)
            times.append(1e3 * (time.perf_counter() - started))
        print(json.dumps({"ms": times}), flush=True)


if __name__ == "__main__":
    main()
