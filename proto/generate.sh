#!/bin/sh
# Checks the .proto files and writes the generated Go next to them. The result is checked in.
# released.binpb describes the protocol of the last release, which every later one understands; a release makes it anew:
#   sh generate.sh build --exclude-source-info -o released.binpb
set -eu
cd "$(dirname "$0")"
buf() { go run github.com/bufbuild/buf/cmd/buf@v1.68.0 "$@"; }
if [ $# -gt 0 ]; then
	buf "$@"
	exit
fi
buf format --diff --exit-code
buf lint
buf breaking --against released.binpb
buf generate
