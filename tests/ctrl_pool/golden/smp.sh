#!/bin/bash
export LANG=C.UTF-8
export QUOTED='it'"'"'s $HOME'
umask 002
cd '/data/a run'
/opt/mpi/bin/mpiexec -n 4 /opt/bin/python -c 'import survey' --id visit=1
