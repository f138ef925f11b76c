#!/bin/bash
#SBATCH --ntasks=112
#SBATCH --time=1-1:2
#SBATCH --job-name=night
#SBATCH --output='/data/a run/night.o%j'
#SBATCH --error='/data/a run/night.o%j'
export LANG=C.UTF-8
export QUOTED='it'"'"'s $HOME'
umask 002
cd '/data/a run'
/opt/mpi/bin/mpiexec /opt/bin/python -c 'import survey' --id visit=1
