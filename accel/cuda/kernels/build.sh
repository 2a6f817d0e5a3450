#!/bin/sh
# Compiles the kernels to PTX, which the driver of any GPU since the A100 (sm_80)
# compiles for itself. Needs clang 19.1.7 (Debian: clang-19) and no CUDA toolkit.
# usage: build.sh [folder for the .ptx files]
set -eu
cd "$(dirname "$0")"
out=${1:-.}
clang=${CLANG:-clang++-19}
case $("$clang" --version) in
*'version 19.1.7'*) ;;
*) echo "build.sh: $clang is not version 19.1.7, and another one writes other PTX" >&2; exit 1 ;;
esac
for source in *.cu; do
	"$clang" -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 -nocudainc -nocudalib \
		-std=c++17 -O3 -ffp-contract=off -Wall -S "$source" -o - | sed '/^\/\//d' >"$out/${source%.cu}.ptx"
done
