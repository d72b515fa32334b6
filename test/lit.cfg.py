# The lit suite. Tests are .mlir files (comm-opt) and .test files (commc, commrun); loaded through lit.site.cfg.py.
import os

import lit.formats

config.name = "commc"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["data", "Inputs", "unit", "runtime", "python", "e2e"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.comm_build_dir, "test")

# %python has the packages of python/requirements.txt, %data is test/data, %comm the source tree, %bin the tools' folder; `%exits 3 commc ...` wants that exit code.
config.substitutions += [
    ("%python", config.comm_python),
    ("%data", os.path.join(config.test_source_root, "data")),
    ("%comm", config.comm_source_dir),
    ("%bin", config.comm_tools_dir),
    ("%exits", f"{config.comm_python} {os.path.join(config.test_source_root, 'tools', 'Inputs', 'exits.py')}"),
]
# Tools go by absolute path: the same name elsewhere on PATH must not answer.
for folder, tools in (
    (config.comm_tools_dir, ["comm-opt", "commc", "commrun"]),
    (config.llvm_tools_dir, ["FileCheck", "count", "not", "split-file"]),
):
    for tool in tools:
        # Not inside a longer word, a path or an option: `commc` but not `x/commc`, `--not` or `model.commx`.
        config.substitutions.append((rf"(?<![\w./%=-]){tool}(?![\w./-])", os.path.join(folder, tool)))

# What a test writes about the user (allow list, caches) stays in the build tree.
for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
    config.environment[name] = os.path.join(config.test_exec_root, "home", name)
config.environment["PYTHONPATH"] = os.path.join(config.comm_source_dir, "python")

# Features for REQUIRES, UNSUPPORTED and %if.
if "address" in config.comm_sanitize:
    config.available_features.add("asan")
    config.environment["ASAN_OPTIONS"] = "allow_user_poisoning=0"  # libMLIR.so itself is not built with ASan
with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
    flags = cpuinfo.read().split()
for flag, feature in (("avx2", "avx2"), ("avx512f", "avx512"), ("avx512_bf16", "avx512-bf16")):
    if flag in flags:
        config.available_features.add(feature)
if os.path.exists("/dev/nvidiactl"):
    config.available_features.add("cuda")
