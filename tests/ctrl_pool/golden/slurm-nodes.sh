#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=56
#SBATCH --time=0-0:1
#SBATCH --job-name='a night'
#SBATCH -p normal
#SBATCH --output='/data/log'"'"'s/a night.o%j'
#SBATCH --error='/data/log'"'"'s/a night.o%j'
#SBATCH --mem=0
export LANG=C.UTF-8
export QUOTED='it'"'"'s $HOME'
umask 002
cd '/data/a run'
echo "mpiexec is at: $(which mpiexec)"
ulimit -a
umask
export
date
/opt/mpi/bin/mpiexec -bind-to none /opt/bin/python -c 'import survey' --id visit=1
date
echo Done.
