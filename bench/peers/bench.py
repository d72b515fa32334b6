"""Coordinator: for each work keeps one process per variant alive and times them in turn, round after round.
Every block is timed under an exclusive lock (a file that `flock` can take as well), only after a look that
the machine is idle; a block counts as clean when (almost) no foreign CPU time shows up during it (all busy time less that of the
worker's own processes). Rounds go on until each variant has enough clean samples. 'best' is over all samples, 'med' over the clean ones.
  bench.py --py PYTHON --torch-py TORCH_PYTHON --models DIR [--works W1_512,W3] [--only ort,jax] [--passes 2] [--samples 20] [--budget 200]"""
import argparse, fcntl, json, os, statistics, subprocess, sys, tempfile, time
import numpy as np
import common as C

HERE = os.path.dirname(os.path.abspath(__file__))
HZ = os.sysconf("SC_CLK_TCK")


def variants(work, of_memory=False):
    """-> [(peer, label, script, torch?, variant, threads, env, prefix)]; with `of_memory` reading the weights of W3 and nothing else, too."""
    v = []
    def add(peer, label, script, var, th, torch=False, env=None, pre=()):
        v.append(dict(peer=peer, label=label, script=script, var=var, th=th, torch=torch, env=env or {}, pre=list(pre)))
    forms = {"W1": ["plain", "fused"], "W2": ["plain", "fused"], "W3": ["plain", "fused", "int4a0", "int4a4"],
             "W4": ["plain", "dense", "contrib"]}.get(work[:2], ["plain"])
    for f in {"W3": ["plain", "fused", "int4a0", "int4a4"], "W4": ["dense", "plain", "contrib"]}.get(work[:2], ["plain"]):
        for ranks, th in ((1, 1), (1, 2), (2, 1)):
            add("commc", f"{f} {ranks}x{th}", "worker_commc.py", f"{f}:{ranks}", th)
    for ranks, th in ((1, 1), (1, 2), (2, 1)):
        add("commc", f"bf16 {ranks}x{th}", "worker_commc.py", f"{'dense' if work == 'W4' else 'plain'}:{ranks}+bf16", th)
    if work == "W3":  # the cache stays in the session
        for f in ("plain", "int4a4"):
            for ranks, th in ((1, 1), (1, 2), (2, 1)):
                add("commc", f"state {f} {ranks}x{th}", "worker_commc.py", f"{f}:{ranks}+state", th)
        for th in (1, 2):
            add("openvino", f"state {th}t", "worker_ov.py", "open+state", th)
    for f in forms:
        for th in (1, 2):
            if f == "dense" and th == 1:
                continue
            add("ort", f"{f} {th}t", "worker_ort.py", f, th)
    for f in {"W3": ["plain", "fused", "int4a0"]}.get(work[:2], ["plain"]):
        for th in (1, 2):
            add("openvino", f"{f} {th}t", "worker_ov.py", f, th)
    for th in (1, 2):
        add("openvino", f"plain+bf16 default {th}t", "worker_ov.py", "plain+default", th)
    if work == "MiniLM":  # what the others would run of it is W2
        return v
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    one = {"XLA_FLAGS": ""}
    if work == "W4":
        add("jax", "capacity 1dev 1core", "worker_jax.py", "capacity", 1, env=one, pre=["taskset", "-c", "0"])
        add("jax", "capacity 1dev 2cores", "worker_jax.py", "capacity", 2, env=one)
        add("jax", "dense 1dev 2cores", "worker_jax.py", "dense", 2, env=one)
        add("jax", "dense EP2 (GSPMD)", "worker_jax.py", "dense_2", 2, env=two)
        add("jax", "capacity EP2 (GSPMD)", "worker_jax.py", "capacity_2", 2, env=two)
    else:
        add("jax", "1dev 1core", "worker_jax.py", "dev1", 1, env=one, pre=["taskset", "-c", "0"])
        add("jax", "1dev 2cores", "worker_jax.py", "dev1", 2, env=one)
        add("jax", "TP2 (GSPMD)", "worker_jax.py", "tp2", 2, env=two)
    for f in ("eager", "compile"):
        for th in (1, 2):
            add("torch", f"{f} {th}t", "worker_torch.py", f, th, True)
    add("torch", "compile+freeze 2t", "worker_torch.py", "freeze", 2, True)
    add("torch", "TP2 gloo eager", "worker_torch.py", "tp2", 1, True)
    if work != "W4":
        add("torch", "TP2 gloo compile", "worker_torch.py", "tp2compile", 1, True)
    if work == "W3" and of_memory:
        for f in ("plain", "int4a4"):
            for th in (1, 2):
                add("memory", f"{f} {th}t", "worker_read.py", f, th)
    return v


def busy():
    a = list(map(int, open("/proc/stat").readline().split()[1:]))
    return a[0] + a[1] + a[2] + a[7], a[7]  # user nice system steal


def tree(pid):
    kids, out, todo = {}, [], [pid]
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                f = open(f"/proc/{d}/stat").read().rsplit(")", 1)[1].split()
                kids.setdefault(int(f[1]), []).append((int(d), int(f[11]) + int(f[12])))
            except OSError:
                pass
    tot = 0
    for l in kids.values():
        tot += sum(t for p, t in l if p == pid)
    while todo:
        for p, t in kids.get(todo.pop(), []):
            tot += t
            todo.append(p)
    return tot


class Worker:
    def __init__(s, a, work, d, out):
        s.d, s.ok, s.blocks = d, False, []
        env = dict(os.environ, OMP_NUM_THREADS=str(d["th"]), **d["env"])
        env.pop("OPENBLAS_CORETYPE", None)
        py = a.torch_py if d["torch"] else a.py
        s.p = subprocess.Popen(d["pre"] + [py, os.path.join(HERE, d["script"]), "--work", work, "--variant", d["var"], "--threads",
                                           str(d["th"]), "--models", a.models, "--out", out], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env, cwd=HERE)
        line = s.p.stdout.readline()
        s.info = json.loads(line) if line.strip() else dict(ready=False, error="crashed")
        s.ok = s.info["ready"]

    def run(s, warm, n):
        s.p.stdin.write(f"run {warm} {n}\n")
        s.p.stdin.flush()
        return json.loads(s.p.stdout.readline())["t"]

    def clean(s, half, a):
        """samples of the blocks during which (almost) nobody else ran"""
        return [t for h, f, cpu, ts in s.blocks if h == half and (f <= a.max_foreign or cpu <= 0.025) for t in ts]

    def stop(s):
        try:
            s.p.stdin.write("quit\n")
            s.p.stdin.close()
        except OSError:
            pass
        try:
            s.p.wait(15)
        except subprocess.TimeoutExpired:
            s.p.kill()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--py", default=sys.executable)
    ap.add_argument("--torch-py", default=sys.executable)
    ap.add_argument("--models", required=True)
    ap.add_argument("--works", default=",".join(C.WORKS))
    ap.add_argument("--only", default="")
    ap.add_argument("--match", default="", help="keep variants whose 'peer label' is in this |-separated list")
    ap.add_argument("--passes", type=int, default=2)
    ap.add_argument("--samples", type=int, default=20, help="clean samples wanted per variant and pass")
    ap.add_argument("--budget", type=float, default=200, help="seconds of timing per work")
    ap.add_argument("--iters", type=int, default=5)
    ap.add_argument("--warm", type=int, default=1)
    ap.add_argument("--lock", default=os.path.join(tempfile.gettempdir(), "commc-bench.lock"))
    ap.add_argument("--out", default="results.jsonl")
    ap.add_argument("--max-foreign", type=float, default=0.08)
    a = ap.parse_args()
    lock = open(a.lock, "w")
    refs = {}
    for work in a.works.split(","):
        ref = C.reference(work)
        refq = C.reference(work, C.quantised_weights(work)) if work == "W3" else None
        ws = []
        for d in variants(work):
            key = f"{d['peer']} {d['label']}"
            if (a.only and d["peer"] not in a.only.split(",")) or (a.match and key not in a.match.split("|")):
                continue
            out = os.path.join(a.models, "out.npy")
            if os.path.exists(out):
                os.remove(out)
            w = Worker(a, work, d, out)
            w.err = None
            if w.ok:
                r = refq if "int4" in d["var"] else ref
                o = np.load(out).reshape(r.shape)
                w.err = float(np.abs(o - r).max() / np.abs(r).max())
            print(work, key, w.info, w.err, flush=True)
            ws.append(w)
        for half in "AB" if a.passes == 2 else "A":
            end = time.time() + a.budget / a.passes
            rnd = 0
            while True:  # rounds in turn until every variant has enough clean samples, or the time is up
                todo = [w for w in ws if w.ok and len(w.clean(half, a)) < a.samples]
                if not todo or (rnd and time.time() > end):
                    break
                rnd += 1
                for w in todo:
                    for wait in range(6):
                        fcntl.flock(lock, fcntl.LOCK_EX)
                        b0, t0 = busy()[0], time.time()
                        time.sleep(0.1)
                        if (busy()[0] - b0) / HZ / (time.time() - t0) < 0.25:
                            break
                        fcntl.flock(lock, fcntl.LOCK_UN)
                        time.sleep(0.5)
                    else:
                        fcntl.flock(lock, fcntl.LOCK_EX)
                    try:
                        b0, o0, t0 = busy(), tree(w.p.pid), time.time()
                        ts = w.run(a.warm, a.iters)
                        while time.time() - t0 < 0.15:  # short works: enough ticks to see foreign load
                            ts += w.run(0, a.iters)
                        wall = time.time() - t0
                        f = max(0.0, (busy()[0] - b0[0] - (tree(w.p.pid) - o0)) / HZ / wall)
                        w.blocks.append((half, f, f * wall, ts))
                    except (ValueError, OSError) as e:
                        w.ok, w.info = False, dict(ready=False, error=f"died while timed: {e}")
                    fcntl.flock(lock, fcntl.LOCK_UN)
            print(time.strftime("%H:%M:%S"), work, "pass", half, rnd, "rounds; clean samples", [len(w.clean(half, a)) for w in ws if w.ok],
                  "load", os.getloadavg()[0], flush=True)
        with open(a.out, "a") as f:
            for w in ws:
                w.stop()
                e = dict(work=work, peer=w.d["peer"], label=w.d["label"], when=time.strftime("%H:%M"), load=os.getloadavg()[0])
                A = w.clean("A", a) if w.ok else []
                B = w.clean("B", a) if w.ok else []
                every = [t for x in w.blocks for t in x[3]]
                if w.ok and every:
                    use = A + B or every
                    md = lambda t: round(statistics.median(t) * 1e3, 4) if t else None
                    mn = lambda t: round(min(t) * 1e3, 4) if t else None
                    e |= dict(best=mn(every), med=md(use), bestA=mn(A), bestB=mn(B), medA=md(A), medB=md(B), n=len(every), clean=len(A + B),
                              err=w.err, gflops=round(C.gflop(work) / min(every), 1), setup_s=w.info["setup_s"], rss_mb=w.info["rss_mb"],
                              note=w.info.get("note", ""))
                else:
                    e |= dict(error=w.info.get("error", "?"))
                print(json.dumps(e), flush=True)
                f.write(json.dumps(e) + "\n")


if __name__ == "__main__":
    main()
