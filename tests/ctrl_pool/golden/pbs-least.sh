#!/bin/bash
#PBS -l nodes=1:ppn=4
#PBS -l walltime=10
#PBS -j oe
#PBS -W umask=002
export LANG=C.UTF-8
export QUOTED='it'"'"'s $HOME'
umask 002
cd '/data/a run'
/opt/mpi/bin/mpiexec /opt/bin/python -c 'import survey' --id visit=1
