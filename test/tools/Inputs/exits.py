"""exits.py [--file-size=BYTES] CODE COMMAND...: runs COMMAND and succeeds when it ends with exactly CODE.

Output passes through. With --file-size the command may write no larger file, as on a full disk.
"""

import resource
import signal
import subprocess
import sys

arguments = sys.argv[1:]
limit = int(arguments.pop(0).split("=")[1]) if arguments[0].startswith("--file-size=") else None


def before():
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


expected = int(arguments[0])
code = subprocess.run(arguments[1:], preexec_fn=before, check=False).returncode
if code != expected:
    print(f"exits.py: ended with {code}, expected {expected}: {' '.join(arguments[1:])}", file=sys.stderr)
    sys.exit(1)
