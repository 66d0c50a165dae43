#!/bin/sh
# A training that is killed three times and started again each time, as a cluster does, under a journal:
#     sh examples/preempted.sh out
# Then look at what became of it, or make the resume wrong (take the generator's state out of plain.py) and begin anew.
out=${1:?name a folder that does not exist yet}
here=$(dirname "$0")
mkdir -p "$out"

set -- dora-repro watch --journal "$out/journal" -- python "$here/plain.py" --out "$out" --epochs 9

updates() { cat "$out/journal/start-000$1"/updates-* 2>/dev/null | wc -l; }

for start in 1 2 3; do
  "$@" &
  job=$!
  while [ "$(updates $start)" -lt 13 ] && kill -0 "$job" 2>/dev/null; do sleep 0.01; done
  kill -KILL "$job" 2>/dev/null
  wait "$job" 2>/dev/null
done
"$@"
dora-repro journal "$out/journal"
