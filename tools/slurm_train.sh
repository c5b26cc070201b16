#!/usr/bin/env bash
# Runs tools/train.py under Slurm, a process a GPU.
#   GPUS=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# GPUS, GPUS_PER_NODE and CPUS_PER_TASK size the job; SRUN_ARGS (words) goes to srun.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,4p "$0" >&2; exit 2; }
PARTITION=$1 JOB_NAME=$2 CONFIG=$3; shift 3
GPUS=${GPUS:-8} GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
read -ra MORE <<< "${SRUN_ARGS:-}"
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" --gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${MORE[@]+"${MORE[@]}"} "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$CONFIG" --launcher slurm "$@"
