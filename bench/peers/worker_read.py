"""No model: reads as many bytes as the work's weights, by bench_read (`ninja -C build bench_read`). The bound of a decode step."""
import json, os, subprocess, sys
import common as C

a = C.args()
program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "bin", "bench_read")
size = os.path.getsize(os.path.join(a.models, f"{a.work}.{a.variant}.bin"))
try:
    reader = subprocess.Popen([program, str(size), str(a.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
except OSError as error:
    print(json.dumps(dict(ready=False, error=f"{error}: ninja -C build bench_read")), flush=True)
    sys.exit(1)


def run(n):
    reader.stdin.write(f"{n}\n")
    reader.stdin.flush()
    return [float(t) for t in reader.stdout.readline().split()]


run(1)
print(json.dumps(dict(ready=True, note=f"{size} bytes")), flush=True)
for line in sys.stdin:
    words = line.split()
    if not words or words[0] == "quit":
        break
    if int(words[1]):
        run(int(words[1]))
    print(json.dumps(dict(t=run(int(words[2])))), flush=True)
reader.stdin.close()
reader.wait()
