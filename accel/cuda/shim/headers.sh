#!/bin/sh
# Finds cuda.h for a build with -tags cuda: that of an installed CUDA toolkit, or, on
# Debian, that of the package nvidia-cuda-dev of the component non-free, of which only
# this file is unpacked into DIR. The package has 774 MB and the file is near its
# beginning, so no more than that is fetched if what comes is the file that is known.
# Prints the folder that it is in.
# usage: headers.sh DIR
set -eu
known=55639151a971a10c28d627a98dcd406c6320a5b4e5b67dd9d229056ed5c8e045 # SHA-256 of cuda.h 11.8.89
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
	uri=$(apt-get $apt download --print-uris nvidia-cuda-dev | sed "s/^'\([^']*\)'.*/\1/")
	# tar ends when it has the file, and then those before it.
	{ curl -sfL "$uri" || wget -qO- "$uri"; } 2>/dev/null | dpkg-deb --fsys-tarfile - 2>/dev/null | tar x --occurrence=1 ./usr/include/cuda.h || true
	if ! echo "$known  usr/include/cuda.h" | sha256sum --check --status; then
		apt-get $apt download -qq nvidia-cuda-dev # apt verifies what it fetches
		dpkg-deb --fsys-tarfile nvidia-cuda-dev_*.deb 2>/dev/null | tar x --occurrence=1 ./usr/include/cuda.h
		rm -f nvidia-cuda-dev_*.deb
	fi
} >&2
echo "$PWD/usr/include"
