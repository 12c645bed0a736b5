#!/usr/bin/env bash
# Everything that a machine with a GPU is asked, each stage under its own timeout (docs/cuda.md):
#   bash scripts/gpu-run.sh [stage…]
# The stages run in the order given:
#   info                     what the addon sees
#   parity                   the parity suite on the device; it writes <date>-gpu-parity.json and
#                            native/backends/cuda/runs.json
#   memcheck, racecheck      compute-sanitizer on test/cuda/sanitize.ts (memcheck:OP,OP: those ops)
#   bench[:ROW,ROW]          bench/gpu.ts; beside the peers' times if they were measured before
#   profile[:ROW,ROW]        time by kernel, each row in its own process (train, gram, sample, policyGradient)
#   peers[:ROW,ROW]          bench/peers/gpu.py; it compiles in the background from the start, and is timed when its
#                            turn comes
# It needs a built checkout and node in PATH, but no npm, git or network. Results go to $OUT (bench/results);
# run.log there has all output. SECONDS_<STAGE> overrides a timeout, HEADFIRST_COMMIT names the commit where git
# cannot.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OUT=${OUT:-$PWD/bench/results} NO_COLOR=1 PYTHONUNBUFFERED=1
[ $# -gt 0 ] || set -- info peers parity memcheck racecheck bench profile
mkdir -p "$OUT"
log=$OUT/run.log failures=0

say() { printf '%s %4d s  %s\n' "$(date +%T)" "$SECONDS" "$*" | tee -a "$log"; }
# limit STAGE SECONDS: the stage's timeout.
limit() { local name=SECONDS_${1^^}; echo "${!name:-$2}"; }
# run NAME SECONDS FILTER COMMAND…: all of its output goes to the log, and what FILTER leaves of it to stdout.
run() {
  local name=$1 seconds filter=$3 status
  seconds=$(limit "$1" "$2"); shift 3
  say "$name (at most $seconds s)"
  timeout -k 5 "$seconds" "$@" 2>&1 | tee -a "$log" | eval "$filter"
  status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] && return
  failures=$((failures + 1))
  say "$name: $([ "$status" -eq 124 ] && echo 'out of time' || echo "exit code $status")"
}
# rows STAGE[:ROW,ROW] DEFAULT: the rows that a stage names, separated by blanks.
rows() { case $1 in *:*) tr , ' ' <<< "${1#*:}" ;; *) echo "${2:-}" ;; esac; }

# Peers compile while other things run.
go=$(mktemp -u) peers=
for stage in "$@"; do
  case $stage in
    peers*)
      # shellcheck disable=SC2046
      timeout -k 5 "$(limit peers 300)" "${HEADFIRST_PYTHON:-python3}" bench/peers/gpu.py $(rows "$stage") \
        --hold "$go" > "$OUT/peers.jsonl" 2>> "$OUT/peers.log" &
      peers=$! ;;
  esac
done
trap 'rm -f "$go"; [ -z "$peers" ] || kill "$peers" 2>/dev/null' EXIT

sanitize() { # TOOL STAGE
  local tool
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
  [ -n "$tool" ] || { say "$1: there is no compute-sanitizer here"; failures=$((failures + 1)); return; }
  # shellcheck disable=SC2046
  run "$1" 60 "grep -aE '=====|calls on' | head -40" \
    "$tool" --tool "$1" --target-processes all --error-exitcode 9 --print-limit 20 \
    node build/bench/test/cuda/sanitize.js "$(limit sanitize 40)" $(rows "$2")
}

for stage in "$@"; do
  case $stage in
    info)
      nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>&1 | tee -a "$log"
      run info 30 'tail -15' node dist/cli/main.js info ;;
    parity)
      run parity 180 "grep -aE 'FAIL|Error:|Tests |Files |ops passed' | head -60" \
        env HEADFIRST_TEST_GPU=1 node node_modules/vitest/vitest.mjs run \
        test/cuda/{kernels,math,engine,uploads,wide}.test.ts \
        --reporter=default --reporter=./scripts/record-gpu-run.mjs
      [ "$OUT" = "$PWD/bench/results" ] || cp native/backends/cuda/runs.json "$OUT/" ;;
    memcheck* | racecheck*) sanitize "${stage%%:*}" "$stage" ;;
    bench*)
      beside=
      [ ! -s "$OUT/peers.jsonl" ] || beside="--peer-results $OUT/peers.jsonl"
      # shellcheck disable=SC2046,SC2086
      run bench 180 cat node build/bench/bench/gpu.js $(rows "$stage") $beside ;;
    profile*)
      for row in $(rows "$stage" 'train gram sample policyGradient'); do
        HEADFIRST_PROFILE=1 run profile 60 "tee -a '$OUT/profile.txt' | head -30" \
          node build/bench/bench/gpu.js --profile "$row"
      done ;;
    peers*)
      say peers
      touch "$go"
      wait "$peers" || { failures=$((failures + 1)); say "peers: exit code $?"; }
      peers=
      cut -c1-300 "$OUT/peers.jsonl" ;;
    *) say "there is no stage '$stage'"; failures=$((failures + 1)) ;;
  esac
done
say "done, $failures failed"
exit $((failures > 0))
