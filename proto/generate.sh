#!/bin/sh
# Checks the .proto files and writes the generated Go next to them. The result is checked in.
# To compare with an older revision: sh generate.sh breaking --against '../.git#ref=main,subdir=proto'
set -eu
cd "$(dirname "$0")"
buf() { go run github.com/bufbuild/buf/cmd/buf@v1.68.0 "$@"; }
if [ $# -gt 0 ]; then
	buf "$@"
	exit
fi
buf format --diff --exit-code
buf lint
buf generate
