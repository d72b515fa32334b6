"""Variants of one work side by side, a few calls each in turn, and how long each takes beside the first one.

    build/peers/peers/bin/python race.py --models build/peers/models --work W1_128 "commc plain 1x2" "ort plain 2t" "openvino plain 2t"

Names are those of bench.py. On a machine whose speed changes from second to second (other tenants on the same cores) medians of a run say little;
the ratio of two blocks that ran one after the other says more: `ratio` is its median over all rounds, of the best call of each block."""
import argparse, json, os, statistics, sys, tempfile
import bench

p = argparse.ArgumentParser()
p.add_argument("--models", required=True)
p.add_argument("--work", required=True)
p.add_argument("--rounds", type=int, default=30)
p.add_argument("--calls", type=int, default=3, help="per block, after one that is not counted")
p.add_argument("--torch-py", default=sys.executable)
p.add_argument("names", nargs="+")
a = p.parse_args()
a.models, a.py = os.path.abspath(a.models), sys.executable
known = {f"{v['peer']} {v['label']}": v for v in bench.variants(a.work, of_memory=True)}
if unknown := [n for n in a.names if n not in known]:
    sys.exit(f"no variant {unknown[0]!r} of {a.work}; there are: {', '.join(known)}")
with tempfile.TemporaryDirectory() as d:
    workers = {n: bench.Worker(a, a.work, known[n], os.path.join(d, f"{i}.npy")) for i, n in enumerate(a.names)}
    for n, w in list(workers.items()):
        if not w.ok:
            print(f"{n}: {w.info['error'].splitlines()[0][:150]}", file=sys.stderr)
            del workers[n]
    blocks = {n: [] for n in workers}
    for _ in range(a.rounds):
        for n, w in workers.items():
            w.p.stdin.write(f"run 1 {a.calls}\n")
            w.p.stdin.flush()
            blocks[n].append([1e3 * t for t in json.loads(w.p.stdout.readline())["t"]])
    for w in workers.values():
        w.p.stdin.close()
        w.p.kill()
first = next(iter(blocks.values()))
print(f"| {a.work} | best ms | median ms | ratio |\n|---|---|---|---|")
for n, b in blocks.items():
    ratio = statistics.median(min(x) / min(y) for x, y in zip(b, first))
    print(f"| {n} | {min(map(min, b)):.2f} | {statistics.median(t for x in b for t in x):.2f} | {ratio:.2f} |")
