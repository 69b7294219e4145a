#!/usr/bin/env bash
# A Slurm of one node for the tests, on a machine of its own (a container, CI) and as root: slurm.sh start|stop
# Needs slurm-wlm and munge. No systemd, no accounting; a stand-in for a GPU.
set -euo pipefail
host=$(hostname -s)
folder=/var/spool/slurm-test

start() {
  install -d -o munge -g munge -m 755 /run/munge /var/log/munge /var/lib/munge
  pgrep -x munged > /dev/null || su -s /bin/sh munge -c /usr/sbin/munged
  rm -rf "$folder"
  mkdir -p "$folder/controller" "$folder/node" /etc/slurm
  cat > /etc/slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
StateSaveLocation=$folder/controller
SlurmdSpoolDir=$folder/node
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=8000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  echo "NodeName=$host Name=gpu File=/dev/null" > /etc/slurm/gres.conf
  slurmctld -c
  slurmd
  for _ in $(seq 50); do
    [ "$(sinfo -h -o %t 2> /dev/null)" = idle ] && return
    sleep 0.2
  done
  sinfo
  exit 1
}

stop() {
  for daemon in slurmd slurmctld; do
    [ -f /run/$daemon.pid ] && kill "$(cat /run/$daemon.pid)" || true
  done
  # With these left behind, every call of snakemake would wait for the controller.
  rm -f /etc/slurm/slurm.conf /etc/slurm/gres.conf
}

"$1"
