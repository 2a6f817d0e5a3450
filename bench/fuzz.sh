#!/bin/sh
# Runs every fuzz target: guided by coverage for a while, which fills the fuzz cache with inputs, and then many times in
# one process from what was found, with what each execution allocates compared with the target's bound (bench/fuzztest).
# As many targets at a time as there are cores, at the lowest priority. Each target has a row in the report, which is
# replaced when it has run, so that a run may be ended and another one go on with other targets.
#
#	sh bench/fuzz.sh                                     # 20 s guided and 10,000,000 executions for each target
#	TARGETS='fhe .*Key' EXECUTIONS=100000 FUZZTIME=0 sh bench/fuzz.sh
#
# FUZZTIME is how long the guided fuzzer runs, 0 for not at all; EXECUTIONS how many executions follow, 0 for none, and
# FUZZ_SECONDS how long they may take; TARGETS picks by "folder name", as a pattern; SEED is that of the mutations; JOBS how
# many targets run at a time; OUT is the report.
set -eu
cd "$(dirname "$0")/.."
COMMIT=${COMMIT:-$(git rev-parse --short HEAD)}
export COMMIT FUZZTIME="${FUZZTIME:-20s}" EXECUTIONS="${EXECUTIONS:-10000000}" OUT="${OUT:-bench/results/fuzz.md}" FUZZ_SEED="${SEED:-1}"
jobs=${JOBS:-$(nproc)}

# one FOLDER TARGET: has one target run, and writes its row.
if [ "${1:-}" = one ]; then
	folder=$2 target=$3
	log=$WORK/$(echo "$folder" | tr / _)-$target
	begin=$(date +%s) outcome="no fault" inprocess="" largest=""
	# What is not guided this time keeps the numbers of the time before.
	guided=$(awk -F ' *[|] *' -v f="$folder" -v t="$target" '$2 == f && $3 == t { print $4 }' "$OUT")
	found=$(awk -F ' *[|] *' -v f="$folder" -v t="$target" '$2 == f && $3 == t { print $5 }' "$OUT")
	if [ "$FUZZTIME" != 0 ]; then
		GOMAXPROCS=1 nice -n 19 go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1s -parallel 1 "./$folder" >"$log" 2>&1 ||
			# The time may end in the middle of an input (go.dev/issue/75804), which is no fault of the target.
			{ grep -q 'context deadline exceeded' "$log" && ! grep -qE 'Failing input|panic|_test\.go:' "$log"; } || outcome=FAULT
		guided=$(sed -n 's/^fuzz: elapsed.*execs: \([0-9]*\).*/\1/p' "$log" | tail -1)
		found=$(sed -n 's/^fuzz: elapsed.*new interesting: \([0-9]*\).*/\1/p' "$log" | tail -1)
	fi
	if [ "$EXECUTIONS" != 0 ] && [ "$outcome" != FAULT ]; then
		cd "$folder"
		GOMAXPROCS=1 FUZZ_EXECUTIONS=$EXECUTIONS nice -n 19 "$WORK/$(echo "$folder" | tr / _).test" -test.run "^$target\$" -test.timeout 0 >"$log" 2>&1 || outcome=FAULT
		cd "$OLDPWD"
		inprocess=$(sed -n 's/^fuzztest: .* executions=\([0-9]*\).*/\1/p' "$log")
		largest=$(sed -n 's/^fuzztest: .* largest=\([0-9]*\) of=\([0-9]*\).*/\1 for \2/p' "$log")
	fi
	[ "$outcome" != FAULT ] || { cat "$log"; touch "$WORK/failed"; }
	row="| $folder | $target | ${guided:-0} | ${found:-0} | ${inprocess:-0} | ${largest:--} | $(($(date +%s) - begin)) s | $COMMIT | $outcome |"
	echo "$row"
	(
		flock 9
		{ grep '^| ' "$OUT" | grep -v '^| package ' | grep -vF "| $folder | $target |" || true; echo "$row"; } | sort >"$WORK/rows"
		{
			cat <<-END
				# Fuzzing

				\`sh bench/fuzz.sh\` with $(go version | cut -d ' ' -f 3,4). Each target runs guided by coverage first and then in one process, on mutations
				(seed $FUZZ_SEED) of its seeds and of what was found; there every execution stays within the target's bound on what it allocates. The
				times are of the last run of the target, which may have been the second part alone, with other work on the machine; the
				numbers of the guided part are then of an earlier run, or 0 where this form of the target has had none. The largest
				allocation is in bytes, with the bytes of its input, of the executions that were measured alone: the inputs to begin with,
				and those that allocated more than the constant part of the bound.

				| package | target | guided | new inputs | in process | largest allocation | time | at | outcome |
				|---|---|---|---|---|---|---|---|---|
			END
			cat "$WORK/rows"
		} >"$WORK/report"
		cp "$WORK/report" "$OUT"
	) 9>"$WORK/lock"
	exit 0
fi

WORK=$(mktemp -d)
export WORK
trap 'rm -rf "$WORK"' EXIT
FUZZ_CACHE=$(go env GOCACHE)/fuzz
export FUZZ_CACHE
[ -f "$OUT" ] || : >"$OUT"
grep -r --include='*_test.go' --exclude-dir=fuzztest -o '^func Fuzz[A-Za-z0-9_]*' . | sed 's|^\./\(.*\)/[^/]*:func \(.*\)$|\1 \2|' | sort | grep -E "${TARGETS:-.}" >"$WORK/targets"
cut -d ' ' -f 1 "$WORK/targets" | sort -u | while read -r folder; do
	nice -n 19 go test -c -o "$WORK/$(echo "$folder" | tr / _).test" "./$folder"
done
xargs -P "$jobs" -L 1 sh bench/fuzz.sh one <"$WORK/targets"
[ ! -e "$WORK/failed" ]
