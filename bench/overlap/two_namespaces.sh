#!/usr/bin/env bash
# two_namespaces.sh RATE COMMAND...: runs COMMAND as two MPI ranks in two network namespaces that are joined by a veth pair, both ends shaped by a
# token bucket of RATE (tc's spelling, "1gbit"; "none": not shaped); deletes them afterwards. Needs root and Open MPI.
#   MTU=9000     of both ends: at 1500 the kernel's work per packet takes the core that compute needs
#   BURST=256kb  of the bucket
#   PIN=1        rank r on core r; 0: not pinned
#   PROBE=1      measures the link with a plain TCP stream and exchange first, no MPI involved
# Names contain the number of this process, so several runs do not meet. Addresses 10.78.0.1 and .2 exist only inside.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
rate=$1
shift
a=ovl$$a b=ovl$$b
work=$(mktemp -d)
clean() {
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
ip netns add "$a"
ip netns add "$b"
ip link add ve0 netns "$a" type veth peer name ve1 netns "$b"
number=1
for end in "$a ve0" "$b ve1"; do
  read -r space device <<<"$end"
  ip -n "$space" addr add 10.78.0.$number/24 dev "$device"
  ip -n "$space" link set "$device" mtu "${MTU:-9000}" up
  ip -n "$space" link set lo up
  [ "$rate" = none ] || ip netns exec "$space" tc qdisc add dev "$device" root tbf rate "$rate" burst "${BURST:-256kb}" latency 50ms
  number=$((number + 1))
done

if [ "${PROBE:-1}" = 1 ]; then
  cat >"$work/probe.py" <<'PY'
"""Rate of a TCP stream of 16 MB and the shortest round trip of one byte; the server's side with an argument."""
import socket, sys, time
size = 16_000_000
if len(sys.argv) > 1:
    server = socket.create_server(("10.78.0.2", 7878))
    s = server.accept()[0]
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(200):
        s.sendall(s.recv(1))
    left = size
    while left:
        left -= len(s.recv(min(left, 1 << 20)))
    s.sendall(b"x")
else:
    for _ in range(100):
        try:
            s = socket.create_connection(("10.78.0.2", 7878))
            break
        except OSError:
            time.sleep(0.05)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    trips = []
    for _ in range(200):
        begin = time.perf_counter()
        s.sendall(b"x")
        s.recv(1)
        trips.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    s.sendall(bytes(size))
    s.recv(1)
    seconds = time.perf_counter() - begin
    print(f"link: {size * 8 / seconds / 1e6:.0f} Mbit/s with TCP, half a round trip {min(trips) / 2 * 1e6:.0f} us", flush=True)
PY
  ip netns exec "$b" python3 "$work/probe.py" server &
  ip netns exec "$a" python3 "$work/probe.py"
  wait
fi

# MPI's own daemon runs in each namespace: the "remote shell" of the second host enters the other one. Both hosts need names of their own.
cat >"$work/agent" <<AGENT
#!/bin/bash
shift
exec ip netns exec $b unshare --uts bash -c "hostname ovl-b; \$*"
AGENT
cat >"$work/rank" <<'RANK'
#!/bin/bash
[ "$PIN" = 1 ] && exec taskset -c "$OMPI_COMM_WORLD_RANK" "$@"
exec "$@"
RANK
chmod +x "$work/agent" "$work/rank"
export PIN=${PIN:-1} OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ip netns exec "$a" unshare --uts bash -c 'hostname ovl-a; exec "$@"' mpirun mpirun --host 10.78.0.1:1,10.78.0.2:1 -n 2 \
  --bind-to none --mca plm_rsh_agent "$work/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.78.0.0/24 \
  --mca oob_tcp_if_include 10.78.0.0/24 -x PIN "$work/rank" "$@"
