#!/bin/bash
# A TPU pod slice: the same command on every one of its hosts, at the same time.
#   TPU=my-slice ZONE=us-central2-b bash experiments/cluster/tpu.sh wmt14_ende_big
# SHARED is a file system that all hosts have mounted, such as Filestore: hosts of a slice have disks
# of their own, and a bucket is not a folder. The checkout lies there as well, and was installed once
# by `make train ACCELERATOR=tpu ARGS=--help` on one of the hosts.
set -eu
experiment=$1
shared=${SHARED:-/mnt/shared/aiayn}

# JAX asks the machine's metadata for the other hosts. --worker=all is what makes it one program:
# started on one host, it would wait for the others. The same command again goes on.
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all \
  --command "cd $shared && .venv/bin/aiayn train $experiment"
