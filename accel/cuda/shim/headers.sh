#!/bin/sh
# Finds cuda.h for a build with -tags cuda: that of an installed CUDA toolkit, or, on
# Debian, that of the package nvidia-cuda-dev of the component non-free, of which only
# this file is unpacked into DIR. Prints the folder that it is in.
# usage: headers.sh DIR
set -eu
mkdir -p "$1"
cd "$1"
for folder in ${CUDA_HEADERS:-} /usr/local/cuda/include /usr/include "$PWD/usr/include"; do
	if [ -f "$folder/cuda.h" ]; then
		echo "$folder"
		exit 0
	fi
done
mkdir -p sources lists/partial cache/archives/partial
# The sources of this machine, with the other component.
found=
for file in /etc/apt/sources.list.d/*.sources; do
	if grep -q '^Components: main' "$file"; then
		sed 's/^Components:.*/Components: non-free/' "$file" >"sources/$(basename "$file")"
		found=yes
	fi
done
[ -n "$found" ] || { echo 'headers.sh: no source of Debian packages; set CUDA_HEADERS to the folder of cuda.h' >&2; exit 1; }
apt="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$PWD/sources -o Dir::State::lists=$PWD/lists -o Dir::Cache=$PWD/cache -o APT::Sandbox::User=$(id -un)"
# shellcheck disable=SC2086 # several options
{
	apt-get $apt update -qq
	apt-get $apt download -qq nvidia-cuda-dev
} >&2
dpkg --fsys-tarfile nvidia-cuda-dev_*.deb 2>/dev/null | tar x --occurrence=1 ./usr/include/cuda.h
rm -f nvidia-cuda-dev_*.deb
echo "$PWD/usr/include"
