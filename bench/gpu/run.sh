#!/usr/bin/env bash
# Everything that there is to find out on a machine with a GPU, in at most nine
# minutes: the tests on the device, bootstraps compared with the processor, figures,
# compute-sanitizer and Nsight Compute where they are installed.
#
#   bench/gpu/run.sh build DIR        makes a folder that needs nothing else, on any machine
#                                     with Go; with the programs of gorgonia.org/cu where
#                                     cuda.h is (CUDA_HEADERS)
#   DIR/run.sh run DIR RESULTS        runs it on the machine with the GPU
#   bench/gpu/run.sh RESULTS          both
#
# RESULTS gets summary.txt and parts.tar.gz, with what every part printed and the figures as
# JSON; both are there after each part. A part that fails or hangs does not stop the others.
# The exit code is 1 when something failed. LIMIT is the number of seconds in all, 530.
set -uo pipefail
limit=${LIMIT:-530}

build() {
	(
		set -e
		mkdir -p "$1"
		dir=$(cd "$1" && pwd)
		work=$(mktemp -d)
		trap 'rm -rf "$work"' EXIT
		cp "$0" "$dir/run.sh"
		cd "$(dirname "$0")/../.."
		export CGO_ENABLED=0
		mkdir "$work/programs"
		small=(-ldflags '-s -w')
		go build "${small[@]}" -o "$work/programs/tacit" ./cmd/tacit
		go test -c "${small[@]}" -o "$work/programs/cuda.test" ./accel/cuda
		go test -c "${small[@]}" -tags slow -o "$work/programs/bootstrap.test" ./bootstrap
		if headers=$(accel/cuda/shim/headers.sh "$work/headers"); then
			settings=$(accel/cuda/shim/build.sh "$work/shim" "$headers")
			# shellcheck disable=SC2086 # several settings
			env $settings go test -c "${small[@]}" -tags cuda -o "$work/programs/cuda-cu.test" ./accel/cuda
		else
			echo 'without gorgonia.org/cu: there is no cuda.h' >&2
		fi
		tar czf "$dir/programs.tar.gz" -C "$work" programs
		du -sh "$dir"
	)
}

say() { echo "$*" | tee -a "$results/summary.txt"; }

# keep brings what there is to RESULTS.
keep() { tar czf "$results/.parts" -C "$work" parts && mv "$results/.parts" "$results/parts.tar.gz"; }

# part NAME SECONDS COMMAND... runs a part within its time and what is left of all.
part() {
	local name=$1 seconds=$2 left=$((limit - SECONDS)) start=$SECONDS code verdict=ok
	shift 2
	if [ "$left" -lt 10 ]; then
		say "SKIPPED $name: no time left"
		return
	fi
	timeout -k 5 $((seconds < left - 5 ? seconds : left - 5)) "$@" >"$name.txt" 2>"$name.err"
	code=$?
	case $code in
	0) ;;
	124 | 137) verdict='OUT OF TIME' ;;
	*) verdict="FAILED ($code)" ;;
	esac
	say "$verdict $name ($((SECONDS - start)) s)"
	if [ $code -ne 0 ]; then
		failed=1
		tail -n 4 "$name.txt" "$name.err" 2>/dev/null | grep -v '^==>\|^$' | cut -c 1-300 | sed 's/^/    /' | tee -a "$results/summary.txt"
	fi
	keep
}

# without NAME TOOL says that a tool is not there.
without() { say "SKIPPED $1: no $2"; }

# gpu NAME SECONDS OPTIONS... times something.
gpu() {
	local name=$1 seconds=$2
	shift 2
	part "$name" "$seconds" "$bin/tacit" bench gpu --save "$name.json" "$@"
}

# profile KERNEL PARAMETERS BATCH SKIP finds what limits a kernel, after so many launches of
# it, with the clocks as they are.
profile() {
	part "ncu-$1" 25 ncu --clock-control none --section SpeedOfLight --section Occupancy --section LaunchStats --section WarpStateStats \
		--kernel-name "$1" --launch-skip "$4" --launch-count 2 \
		"$bin/tacit" bench gpu --params "$2" --batch "$3" --samples 1 --ring 2048 --compare 1
}

# gpu_found: doctor counts a machine without a GPU as healthy.
gpu_found() { "$bin/tacit" doctor && "$bin/tacit" doctor | grep -q '^ok *self-test gpu'; }

# tables prints what the summary shows of the figures.
tables() {
	local f
	for f in bench-*.txt transforms.txt; do
		[ -s "$f" ] && cat "$f"
	done
	# What limits each kernel, in a line.
	for f in ncu-*.txt; do
		[ -s "$f" ] && echo && awk -v line="${f%.txt}" '
			/Compute \(SM\) Throughput|Memory Throughput .*%|L1\/TEX Cache Throughput|L2 Cache Throughput|DRAM Throughput .*%|Achieved Occupancy|Registers Per Thread/ {
				gsub(/  +/, " ")
				line = line ";" $0
			}
			END { print substr(line, 1, 500) }' "$f"
	done
}

run() {
	local tool
	mkdir -p "$2"
	results=$(cd "$2" && pwd)
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	tar xzf "$1/programs.tar.gz" -C "$work" || exit 1
	bin=$work/programs
	failed=0
	: >"$results/summary.txt"
	export TACIT_TEST_DEVICE=cuda
	mkdir "$work/parts" && cd "$work/parts" || exit 1
	say "$(nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.sm,memory.total,power.limit --format=csv,noheader 2>&1 | head -n 4), $(nproc) cores"
	nvidia-smi -q >nvidia-smi.txt 2>&1

	export bin
	export -f gpu_found
	part doctor 30 bash -c gpu_found
	# What counts most comes first.
	part conformance 90 "$bin/cuda.test" -test.v -test.run '^TestGPU$'
	gpu bench-default 70 --params tacit-2m2c-unroll3-v1 --batch 1,2,4,16,64,132,264,528,1056 --ring 2048 --compare 4096
	gpu digests 110 --params tacit-2m2c-unroll3-v1 --batch 264 --samples 3 --ring 2048 --compare 100000
	gpu bench-block 50 --params tacit-2m2c-block3-v1 --batch 1,4,64,264,528,1056 --ring 2048 --compare 1056
	gpu bench-classic 50 --params tacit-2m2c-v1 --batch 1,4,64,132,264,528,1056 --ring 2048 --compare 1056
	part operations 60 "$bin/bootstrap.test" -test.v -test.run '^TestEveryOperationOfTheDefaultPreset$'
	part bootstraps 50 "$bin/bootstrap.test" -test.v -test.run '^(TestKnownAnswers|TestEveryImplementation|TestBootstrapEveryMessage|TestMigrateIsExact)$'
	gpu transforms 30 --params insecure-test-2m2c-v1 --batch 1 --samples 5 --compare 1
	if command -v compute-sanitizer >/dev/null; then
		for tool in memcheck racecheck synccheck; do
			part "sanitizer-$tool" 40 compute-sanitizer --tool $tool --error-exitcode 9 \
				"$bin/tacit" bench gpu --params insecure-test-unroll3-v1,insecure-test-2m2c-v1 --batch 1,5 --samples 1 --ring 2048,8192 --compare 9
		done
	else
		without sanitizer compute-sanitizer
	fi
	if command -v ncu >/dev/null; then
		profile rotate_combining tacit-2m2c-unroll3-v1 264 8
		profile rotate_combined_few tacit-2m2c-unroll3-v1 1 0
		profile combine_steps tacit-2m2c-unroll3-v1 1 0
		profile rotate_cmux_few tacit-2m2c-v1 1 0
		profile rotate_cmux tacit-2m2c-v1 264 20
		profile switch_product tacit-2m2c-v1 264 2
	else
		without ncu ncu
	fi
	if [ -x "$bin/cuda-cu.test" ]; then
		part gorgonia 60 "$bin/cuda-cu.test" -test.v -test.run '^TestGPU$/^(SelfTest|Rotator|KeySwitcher)$'
	else
		without gorgonia 'program that was built with cuda.h'
	fi
	tables >>"$results/summary.txt"
	keep
	echo
	head -c 11500 "$results/summary.txt"
	exit $failed
}

case ${1:-} in
build) [ $# -eq 2 ] && build "$2" ;;
run) [ $# -eq 3 ] && run "$2" "$3" ;;
'' | -*) sed -n '2,/^set/{/^#/p}' "$0" && exit 2 ;;
*)
	programs=$(mktemp -d)
	build "$programs" && run "$programs" "$1"
	;;
esac
