#!/usr/bin/env bash
# Installs what is missing to build optogen: a C compiler, pkg-config and the HDF5 library; with --tests, Python's venv, rustfmt and clippy too.
# Says what it does, a line each, and nothing where all is there.
set -euo pipefail

readonly RUST=1.95

case "${1:-}" in
    '') tests=no ;;
    --tests) tests=yes ;;
    *)
        echo "usage: scripts/setup.sh [--tests]" >&2
        exit 2
        ;;
esac

missing=()
{ command -v cc && command -v make; } >/dev/null || missing+=(build-essential)
command -v pkg-config >/dev/null || missing+=(pkg-config)
# Whether a program that uses HDF5 1.10.7 or later compiles and links, with the library found as the build will find it.
has_hdf5() {
    local flags debian=/usr/lib/x86_64-linux-gnu/hdf5/serial
    if [[ -n ${HDF5_DIR:-} ]]; then
        flags="-I$HDF5_DIR/include -L$HDF5_DIR/lib -lhdf5"
    else
        flags=$(pkg-config --cflags --libs hdf5 2>/dev/null) || flags="-I/usr/include/hdf5/serial -L$debian -lhdf5"
    fi
    # shellcheck disable=SC2086 # several flags
    echo '#include <hdf5.h>
int main(void) { return H5open() + (H5Smodify_select == 0); }' | cc -x c - -o /dev/null $flags 2>/dev/null
}
# Without a compiler it cannot be tried; where it is there, apt leaves it alone.
if ((${#missing[@]})) || ! has_hdf5; then
    missing+=(libhdf5-dev)
fi
if [[ $tests == yes ]] && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    missing+=(python3-venv)
fi

if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing, in Debian's names: ${missing[*]}" >&2
        echo "setup: there is no apt-get here; please install them with your system's package manager (HDF5 with its headers), then try again" >&2
        exit 1
    fi
    as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || {
            echo "setup: please run as root: apt-get install ${missing[*]}" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}")
    echo "setup: installing ${missing[*]}"
    # The lists of packages may be old or not be there at all.
    if ! "${install[@]}" >/dev/null 2>&1; then
        echo "setup: updating the lists of packages first"
        "${as_root[@]}" apt-get -qq update
        "${install[@]}" >/dev/null
    fi
fi

if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
    echo "setup: cargo is installed but not on PATH; do this first: . \"${CARGO_HOME:-$HOME/.cargo}/env\"" >&2
    exit 1
fi
if ! command -v cargo >/dev/null; then
    echo "setup: Rust is missing. Get it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh (https://rustup.rs)" >&2
    exit 1
fi
version=$(cargo --version | cut -d' ' -f2)
if [[ $(printf '%s\n' "$RUST" "$version" | sort -V | head -n1) != "$RUST" ]]; then
    echo "setup: Rust is $version, and optogen needs $RUST or later. Get it with: rustup update stable" >&2
    exit 1
fi
if [[ $tests == yes ]]; then
    for component in rustfmt clippy; do
        "cargo-${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || {
            echo "setup: $component is missing; install it as you installed Rust" >&2
            exit 1
        }
        echo "setup: adding $component to Rust"
        rustup --quiet component add "$component"
    done
fi
