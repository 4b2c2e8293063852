#!/bin/bash
# Several processes on this machine: to try what many hosts do, and what the tests do.
#   bash experiments/cluster/loopback.sh 2 train phrasebook
# One process alone already uses all GPUs of a machine; this needs no cluster, and is slower.
set -u
count=$1
shift
python=${PYTHON:-.venv/bin/python}

# Any free port will do; all must know the same.
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_NUM_PROCESSES=$count

processes=()
for ((number = 0; number < count; number++)); do
  # Of the GPUs, each takes one; on CPU this says nothing.
  JAX_PROCESS_ID=$number JAX_LOCAL_DEVICE_IDS=$number "$python" -m aiayn "$@" &
  processes+=($!)
done

# One that dies brings down the others; kill -TERM of any one has all save and stop.
status=0
for process in "${processes[@]}"; do wait "$process" || status=$?; done
exit "$status"
