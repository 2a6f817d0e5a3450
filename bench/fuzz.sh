#!/bin/sh
# Runs every fuzz target of the repository for a while and writes how many executions each had, and what it found.
# FUZZTIME is how long or how often each one runs, such as 60s or 10000000x; TARGETS picks some, as a pattern; OUT is the
# report. Runs at the lowest priority:  FUZZTIME=10000000x sh bench/fuzz.sh
set -u
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-10s}
out=${OUT:-bench/results/fuzz.md}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | sed 's|^\(.*\)/[^/]*:func \(.*\)$|\1 \2|' | sort | grep -E "${TARGETS:-.}" >"$work/targets"
{
	echo "# Fuzzing"
	echo
	echo "\`FUZZTIME=$fuzztime sh bench/fuzz.sh\` at $(git rev-parse --short HEAD), $(go version | cut -d ' ' -f 3,4), $(nproc) cores."
	echo
	echo "| package | target | executions | new inputs | time | outcome |"
	echo "|---|---|---|---|---|---|"
} >"$work/report"
failed=0
while read -r package target; do
	begin=$(date +%s)
	if nice -n 19 go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1s "$package" >"$work/log" 2>&1; then
		outcome="no fault"
	else
		outcome="FAULT"
		failed=1
		cat "$work/log"
	fi
	last=$(grep '^fuzz: elapsed' "$work/log" | tail -1)
	execs=$(echo "$last" | sed -n 's/.*execs: \([0-9]*\).*/\1/p')
	found=$(echo "$last" | sed -n 's/.*new interesting: \([0-9]*\).*/\1/p')
	echo "| ${package#./} | $target | ${execs:-0} | ${found:-0} | $(($(date +%s) - begin)) s | $outcome |" | tee -a "$work/report"
done <"$work/targets"
cp "$work/report" "$out"
exit $failed
