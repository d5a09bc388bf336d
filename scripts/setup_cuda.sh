#!/usr/bin/env bash
# Sets up what building with CUDA takes, in .cuda/: the toolkit from PyPI where there is no nvcc, and a stand-in for the driver's library to link
# against, so that no GPU is needed. Says what it does, a line each, and nothing where all is there; .cuda/env is then what a build needs to know.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOOLKIT=13.0
readonly HERE=$PWD/.cuda
mkdir -p "$HERE"

if nvcc=$(command -v nvcc); then
    home=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    [[ -e $HERE/env ]] || echo "setup: CUDA is there, in $home"
else
    home=$HERE/toolkit/nvidia/cu13
    if [[ ! -e $HERE/toolkit/installed ]]; then
        echo "setup: installing the CUDA toolkit $TOOLKIT from PyPI into .cuda/toolkit (1.2 GB)"
        rm -rf "$HERE/toolkit"
        packages=()
        for part in cuda-nvcc cuda-runtime cublas cuda-nvrtc cuda-crt nvvm cuda-cccl; do
            packages+=("nvidia-$part==$TOOLKIT.*")
        done
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$HERE/toolkit" "${packages[@]}" nvidia-curand
        # The wheels hold versioned libraries alone, and no lib64.
        for library in "$home"/lib/*.so.*; do
            [[ $library == *.alt.so.* ]] || ln -sf "$(basename "$library")" "${library%%.so.*}.so"
        done
        ln -sfn lib "$home/lib64"
        touch "$HERE/toolkit/installed"
    fi
fi
version=$("$home/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\)\.\([0-9]*\),.*/\10\20/p')

# The driver's library belongs to the machine that has the GPU. This stands in for it: each of its functions says that there is no device.
if [[ ! -e $HERE/stubs/libcuda.so.1 ]]; then
    echo "setup: making a stand-in for the driver's library in .cuda/stubs"
    mkdir -p "$HERE/stubs"
    grep -ohE '\bcu[A-Z][A-Za-z0-9]*(_v[0-9]+|_ptsz|_ptds)*\b' "$home/include/cuda.h" | sort -u \
        | sed 's/.*/int &(void) { return 100; }/' >"$HERE/stubs/cuda.c"
    cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$HERE/stubs/libcuda.so.1" "$HERE/stubs/cuda.c"
    ln -sf libcuda.so.1 "$HERE/stubs/libcuda.so"
fi

# RUSTFLAGS takes the place of those in .cargo/config.toml, so they are said again. With the old kind of path NVRTC, too, finds the library that it
# opens by itself.
cat >"$HERE/env" <<END
export CUDA_HOME='$home' CUDA_PATH='$home' CUDA_ROOT='$home' CUDA_TOOLKIT_ROOT_DIR='$home' NVCC='$home/bin/nvcc' PATH='$home/bin':"\$PATH"
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-90}" CUDARC_CUDA_VERSION=$version
export RUSTFLAGS='-C target-cpu=x86-64-v3 -L $HERE/stubs -L $home/lib64 -C link-arg=-Wl,-rpath,$home/lib64 -C link-arg=-Wl,--disable-new-dtags -C link-arg=-Wl,--no-as-needed'
# What is built also starts where there is no driver, and then finds no GPU.
PATH=\$PATH:/sbin ldconfig -p | grep -q 'libcuda\.so\.1' || export LD_LIBRARY_PATH='$HERE/stubs'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
END
