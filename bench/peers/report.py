"""report.py DIR -> markdown tables from results.jsonl and slow_link.jsonl in it."""
import json, os, sys
import common as C
d = sys.argv[1]
rd = lambda n: [json.loads(l) for l in open(os.path.join(d, n)) if l.startswith("{")] if os.path.exists(os.path.join(d, n)) else []
rows, last = rd("results.jsonl"), {}
for r in rows:
    last[(r["work"], r["peer"], r["label"])] = r
f = lambda v, n=2: "-" if v is None else f"{v:.{n}f}"
for wk in C.WORKS:
    rs = [r for r in last.values() if r["work"] == wk]
    if not rs:
        continue
    print(f"\n### {wk}: {C.gflop(wk):.3f} GFLOP, {C.weight_bytes(wk) / 1e6:.0f} MB weights\n")
    print("| peer | variant | best ms | median ms | median pass A / B | GFLOP/s | GB/s of weights | max err | clean/all | setup s | RSS MB |" if wk == "W3" else
          "| peer | variant | best ms | median ms | median pass A / B | GFLOP/s | max err | clean/all | setup s | RSS MB |")
    print("|" + "---|" * (11 if wk == "W3" else 10))
    for r in sorted(rs, key=lambda r: (r.get("med") is None, r.get("med") or 0)):
        if "best" not in r:
            print(f"| {r['peer']} | {r['label']} | fails: {r['error'][:160].replace(chr(10), ' ')} |" + " |" * (8 if wk == "W3" else 7))
            continue
        gb = f" {C.weight_bytes(wk) * (1 if 'int4' not in r['label'] else 4.5 / 32) / r['best'] / 1e6:.1f} |" if wk == "W3" else ""
        print(f"| {r['peer']} | {r['label']}{' [' + r['note'] + ']' if r['note'] else ''} | {f(r['best'])} | {f(r['med'])} | {f(r['medA'])} / {f(r['medB'])} | {r['gflops']:.0f} |{gb} "
              f"{r['err']:.0e}{' **no**' if not r['err'] < 1e-3 else ''} | {r['clean']}/{r['n']} | {r['setup_s']:.1f} | {r['rss_mb']} |")
print("\n### What a user would pick (fastest by median, err < 1e-3; int4 apart)\n\n| work | fastest | best ms | median ms | next peer | its median | fastest with 2 ranks | its median | fastest 1 thread | its median |\n" + "|---" * 10 + "|")
for wk in C.WORKS:
    rs = sorted([r for r in last.values() if r["work"] == wk and r.get("med") and r["err"] < 1e-3 and "int4" not in r["label"]], key=lambda r: r["med"])
    if not rs:
        continue
    n = lambda r: f"{r['peer']} {r['label']}" if r else "-"
    g = lambda t: next((r for r in rs if t(r)), None)
    nx, two, one = g(lambda r: r["peer"] != rs[0]["peer"]), g(lambda r: any(x in r["label"] for x in ("TP2", "EP2", " 2x1"))), g(lambda r: r["label"].endswith(("1t", " 1x1")) or "1core" in r["label"])
    m = lambda r: f(r["med"]) if r else "-"
    print(f"| {wk} | {n(rs[0])} | {f(rs[0]['best'])} | {f(rs[0]['med'])} | {n(nx)} | {m(nx)} | {n(two)} | {m(two)} | {n(one)} | {m(one)} |")
for n, t in (("slow_link.jsonl", "Slow link"), ("calib.jsonl", "Machine")):
    if rd(n):
        print(f"\n### {t}\n\n```")
        for r in rd(n):
            print(json.dumps(r))
        print("```")
