#!/bin/bash
#PBS -A survey
#PBS -l nodes=2:ppn=56
#PBS -l walltime=3600
#PBS -o /data/logs
#PBS -N night
#PBS -q normal
#PBS -j oe
#PBS -W umask=002
export LANG=C.UTF-8
export QUOTED='it'"'"'s $HOME'
umask 002
cd '/data/a run'
/opt/mpi/bin/mpiexec /opt/bin/python -c 'import survey' --id visit=1
