#!/usr/bin/env bash
# Everything that there is to find out on a machine with a GPU, in at most nine
# minutes: the tests on the device, bootstraps compared with the processor, figures,
# compute-sanitizer and Nsight Compute where they are installed.
#
#   bench/gpu/run.sh build DIR        builds the programs, on any machine with Go; those
#                                     of gorgonia.org/cu where cuda.h is (CUDA_HEADERS)
#   bench/gpu/run.sh run DIR RESULTS  runs them, on the machine with the GPU
#   bench/gpu/run.sh RESULTS          both
#
# RESULTS gets a file for every part and summary.txt, which says what passed. The exit
# code is 1 when something failed.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
limit=530 # seconds in all

build() {
	mkdir -p "$1"
	(
		set -e
		cd "$root"
		export CGO_ENABLED=0
		go build -o "$1/tacit" ./cmd/tacit
		go test -c -o "$1/cuda.test" ./accel/cuda
		go test -c -tags slow -o "$1/bootstrap.test" ./bootstrap
		headers=$(accel/cuda/shim/headers.sh "$1/headers") || exit 0
		settings=$(accel/cuda/shim/build.sh "$1/shim" "$headers")
		# shellcheck disable=SC2086 # several settings
		env $settings go test -c -tags cuda -o "$1/cuda-cu.test" ./accel/cuda
	)
}

# part NAME SECONDS COMMAND... runs a part within its time and what is left of all.
part() {
	local name=$1 seconds=$2
	shift 2
	local left=$((limit - SECONDS)) start=$SECONDS
	if [ "$left" -lt 5 ]; then
		echo "SKIPPED $name: no time left" | tee -a "$results/summary.txt"
		return
	fi
	timeout -k 5 $((seconds < left ? seconds : left)) "$@" >"$results/$name.txt" 2>&1
	local code=$?
	local verdict=ok
	[ $code -eq 0 ] || { verdict="FAILED ($code)"; failed=1; }
	echo "$verdict $name ($((SECONDS - start)) s)" | tee -a "$results/summary.txt"
}

# without NAME says that a tool is not there.
without() { echo "SKIPPED $1: not installed" | tee -a "$results/summary.txt"; }

run() {
	local dir
	dir=$(cd "$1" && pwd)
	mkdir -p "$2"
	results=$(cd "$2" && pwd)
	failed=0
	: >"$results/summary.txt"
	export TACIT_TEST_DEVICE=cuda
	nvidia-smi >"$results/nvidia-smi.txt" 2>&1
	nvidia-smi -q >>"$results/nvidia-smi.txt" 2>&1
	cd "$results" || exit 1
	part doctor 30 "$dir/tacit" doctor
	part conformance 100 "$dir/cuda.test" -test.v -test.run '^TestGPU$'
	if [ -x "$dir/cuda-cu.test" ]; then
		part gorgonia 60 "$dir/cuda-cu.test" -test.v -test.run '^TestGPU$/^(SelfTest|Rotator|KeySwitcher)$'
	else
		without gorgonia
	fi
	part bench 150 "$dir/tacit" bench gpu --json --compare 4096 --out "$results/bench.json"
	part digests 110 "$dir/tacit" bench gpu --json --params tacit-2m2c-unroll3-v1 --batch 264 --samples 3 --ring 2048 --compare 100000 --out "$results/digests.json"
	part bootstraps 60 "$dir/bootstrap.test" -test.v -test.run '^(TestKnownAnswers|TestEveryImplementation|TestBootstrapEveryMessage|TestMigrateIsExact)$'
	part operations 60 "$dir/bootstrap.test" -test.v -test.run '^TestEveryOperationOfTheDefaultPreset$'
	if command -v compute-sanitizer >/dev/null; then
		for tool in memcheck racecheck synccheck; do
			part "sanitizer-$tool" 40 compute-sanitizer --tool $tool --error-exitcode 9 \
				"$dir/tacit" bench gpu --json --params insecure-test-unroll3-v1,insecure-test-2m2c-v1 --batch 2 --samples 1 --ring 2048 --compare 9
		done
	else
		without compute-sanitizer
	fi
	if command -v ncu >/dev/null; then
		part ncu 60 ncu --set full --launch-count 24 --kernel-name 'regex:rotate_.*|switch_product|combine_steps|ntt' \
			"$dir/tacit" bench gpu --json --batch 1,264 --samples 1 --ring 2048 --compare 1
	else
		without ncu
	fi
	exit $failed
}

case ${1:-} in
build) [ $# -eq 2 ] && build "$2" ;;
run) [ $# -eq 3 ] && run "$2" "$3" ;;
'') sed -n '2,/^set/{/^#/p}' "$0" && exit 2 ;;
*)
	programs=$(mktemp -d)
	build "$programs" && run "$programs" "$1"
	;;
esac
