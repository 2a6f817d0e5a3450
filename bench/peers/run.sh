#!/bin/sh
# Measures the libraries whose adapters are installed, SEAL as WebAssembly among them, and
# Tacit next to them, on one thread:
#
#     bench/peers/run.sh bench/results/peers
#
# at all sizes, leaves results.json, report.md and plots in the folder. It goes on with results.json
# where it was interrupted.
set -eu
out=$(mkdir -p "${1:?the folder for results}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
npm install --no-package-lock --no-audit --no-fund --prefix bench/peers/adapters/seal-wasm
tacit=$(mktemp -d)/tacit
go build -o "$tacit" ./cmd/tacit
"$tacit" bench run --threads 1 --samples 4 --budget 100ms --scheme bgv,bfv,ckks --adapter bench/peers/adapters --out "$out/results.json" \
	--commit "$(git rev-parse HEAD)" --workload 'votes,chi-squared,euclidean,hamming,logistic,matrix,network,retrieval,fibonacci,vector-*'
rm -f "$out/report.md" "$out"/*.svg
"$tacit" bench report "$out/results.json" --out "$out" --published
rm "$out/choosing.md" # Tacit's own choice is in bench/results/suite
rm -r "$(dirname "$tacit")"
