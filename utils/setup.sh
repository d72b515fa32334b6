#!/usr/bin/env bash
# setup.sh [demo|test]...: installs what building and the named jobs need, on Debian 12 (Ubuntu 24.04: not tried).
# System packages through apt (root), Python packages into .venv. When everything is there it touches no network.
set -euo pipefail
# shellcheck source=utils/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

packages=(
  cmake ninja-build pkg-config ccache clang-22 lld-22 g++        # build; g++ brings the standard library
  libmlir-22-dev mlir-22-tools llvm-22-dev llvm-22-tools         # the compiler
  zlib1g-dev libzstd-dev                                         # LLVM's CMake files ask for them
  protobuf-compiler libprotobuf-dev                              # reading ONNX
  libxsmm-dev libzip-dev libssl-dev nlohmann-json3-dev libcli11-dev
  python3 python3-venv
)
lists=(python/requirements.txt)
for job in "$@"; do
  case $job in
    demo) lists+=(python/requirements-demo.txt) ;;
    test)
      packages+=(libgtest-dev clang-format-22 libclang-rt-22-dev shellcheck git
        libopenmpi-dev openmpi-bin) # ranks over MPI; without it those tests are skipped
      lists+=(python/requirements-test.txt)
      ;;
    *) die 2 "unknown job '$job'; usage: utils/setup.sh [demo|test]..." ;;
  esac
done
cd "$top"

check_cpu() {
  [ "$(uname -m)" = x86_64 ] || die 6 "commc needs an x86-64 CPU with AVX2; this is $(uname -m)"
  grep -qw avx2 /proc/cpuinfo || die 6 "commc needs a CPU with AVX2; this one does not have it"
}

# LLVM 22 is in Debian 12 itself; Ubuntu 24.04 gets it from the LLVM project.
add_llvm_repository() {
  apt-get install -y -q --no-install-recommends ca-certificates curl
  install -d -m 0755 /etc/apt/keyrings
  curl -fsSL https://apt.llvm.org/llvm-snapshot.gpg.key -o /etc/apt/keyrings/llvm.asc
  echo "deb [signed-by=/etc/apt/keyrings/llvm.asc] https://apt.llvm.org/noble/ llvm-toolchain-noble-22 main" \
    >/etc/apt/sources.list.d/llvm-22.list
  apt-get update -q
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  if [ "$system" = ubuntu-24.04 ] && ! apt-cache show libmlir-22-dev >/dev/null 2>&1; then
    add_llvm_repository
  fi
  apt-get install -y -q --no-install-recommends "$@"
}

apt_packages() {
  command -v dpkg-query >/dev/null ||
    die 1 "this script installs packages on Debian 12 only; on this system install the equivalents of: ${packages[*]}"
  local installed missing=()
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null)
  for package in "${packages[@]}"; do
    grep -qx "installed $package" <<<"$installed" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    echo "[apt] all ${#packages[@]} packages are installed"
    return
  fi
  [ "$(id -u)" = 0 ] || die 1 "system packages are missing; as root run: apt-get install ${missing[*]}"
  # shellcheck source=/dev/null
  system=$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")
  case $system in
    debian-12) ;;
    ubuntu-24.04) echo "[apt] Ubuntu 24.04 takes LLVM 22 from apt.llvm.org; this was not tried" ;;
    *) echo "[apt] $system was not tried; Debian 12 is the reference" ;;
  esac
  step apt "installing ${#missing[@]} system packages: ${missing[*]}" install_packages "${missing[@]}"
}

install_python() {
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  local arguments=()
  for list in "${lists[@]}"; do arguments+=(-r "$list"); done
  .venv/bin/python -m pip install --no-deps --disable-pip-version-check --progress-bar off "${arguments[@]}"
}

python_packages() {
  python=$(command -v /usr/bin/python3 || command -v python3) || die 1 "python3 is missing; install Python 3.11 or newer"
  local stamp
  # The lists count as installed for exactly their text and this interpreter, and go with the environment.
  stamp=.venv/installed-$({ "$python" --version; cat "${lists[@]}"; } | sha256sum | cut -c1-16)
  if [ -e "$stamp" ]; then
    echo "[pip] .venv is up to date"
    return
  fi
  step pip "installing Python packages of ${lists[*]} into .venv" install_python
  touch "$stamp"
}

[ -w "$top" ] || die 1 "$top is not writable for $(id -un): clone commc into a folder of your own"
check_cpu
apt_packages
python_packages
