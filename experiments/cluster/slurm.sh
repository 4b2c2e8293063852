#!/bin/bash
# Four hosts of eight GPUs under Slurm, from the root of the checkout:
#   sbatch experiments/cluster/slurm.sh wmt14_ende_big
# The checkout with data/ and runs/ lies in a file system that all hosts see. Prepare the corpus
# first, on a machine without GPUs: .venv/bin/aiayn prepare wmt14_ende_big
#SBATCH --job-name=aiayn
#SBATCH --nodes=4
# A process for each GPU. JAX gives the n-th process of a host the host's n-th GPU, so each must see
# all of them: --gpus-per-node, not --gpus-per-task.
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
# Two minutes before the time is up all processes are told, and save the step they are in.
#SBATCH --signal=TERM@120
# After a host is lost Slurm starts the job again, and it goes on from the newest checkpoint.
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
experiment=$1

# A failure of one process ends the step at once; JAX would notice by itself, a little later.
srun --kill-on-bad-exit=1 .venv/bin/aiayn train "$experiment" || exit

# Stopped in time, but not finished: to the end of the queue.
[ -f "runs/$experiment/result.json" ] || scontrol requeue "$SLURM_JOB_ID"
