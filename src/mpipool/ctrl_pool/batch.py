"""Batch scripts and how they are submitted.

Rendering touches nothing (`Batch.render`); `Batch.createScript` writes a file, and `Batch.run` is
the only subprocess.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from mpipool.executor.environment import SCRIPT_FD, SIZE, without_launcher
from mpipool.mpiexec import find_mpiexec

UMASK: Final = 0o002
"""Of jobs: what they write, their group may change."""
_NOT_EXPORTED: Final = ("DISPLAY", "_", "SHLVL", "PWD", "OLDPWD", SCRIPT_FD, SIZE)
_SECRET: Final = ("*TOKEN*", "*PASSWORD*", "*PASSWD*", "*SECRET*", "*KEY*", "AWS_*")
"""Names whose values are not written into scripts."""


class Batch:
    """A job, and the script for it; the base of those for particular systems.

    Parameters
    ----------
    outputDir : str, optional
        Folder of the job's log.
    numNodes, numProcsPerNode, numCores : int
        Size: nodes and processes on each, or cores.
    queue, jobName : str, optional
        Names.
    walltime : float
        Longest time of the job in seconds.
    dryrun : bool
        Only say what would be done.
    doExec : bool
        Become the script, instead of submitting it.
    mpiexec : str
        Options of mpiexec.
    submit : str, optional
        Options of the command which submits.
    options : str, optional
        Options which are appended to the script's header.
    verbose : bool
        Let the script say where and how it runs.

    Raises
    ------
    RuntimeError
        If the size is missing.
    """

    def __init__(  # noqa: PLR0913 - the predecessor's
        self,
        outputDir: str | None = None,
        numNodes: int = 0,
        numProcsPerNode: int = 0,
        numCores: int = 0,
        queue: str | None = None,
        jobName: str | None = None,
        walltime: float = 0.0,
        dryrun: bool = False,
        doExec: bool = False,
        mpiexec: str = "",
        submit: str | None = None,
        options: str | None = None,
        verbose: bool = False,
    ) -> None:
        if (numNodes <= 0 or numProcsPerNode <= 0) and numCores <= 0:
            raise RuntimeError("say how large the job is: --cores, or --nodes and --procs")
        for name, text in (("--queue", queue), ("--job", jobName), ("--batch-output", outputDir)):
            if text is not None and re.search(r"[\n\r]", text):
                raise RuntimeError(f"{name} {text!r} has a line break, which no batch system takes")
        self.outputDir, self.queue, self.jobName = outputDir, queue, jobName
        self.numNodes, self.numProcsPerNode, self.numCores = numNodes, numProcsPerNode, numCores
        self.walltime, self.dryrun, self.doExec = walltime, dryrun, doExec
        self.mpiexec, self.submit, self.options = mpiexec or "", submit, options
        self.verbose = verbose

    # --- what the script says --------------------------------------------------------------------

    def shebang(self) -> str:
        """Return the script's first line."""
        return "#!/bin/bash"

    def preamble(self, walltime: float | None = None) -> str:
        """Return the script's header: what the batch system reads.

        Raises
        ------
        RuntimeError
            If the system can't be asked for such a job.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its header is")

    def execution(self, command: str) -> str:
        """Return the script's body, which runs a shell command under mpiexec."""
        before = ['echo "mpiexec is at: $(which mpiexec)"', "ulimit -a", "umask", "export", "date"]
        return "\n".join(
            [
                exportEnv(),
                f"umask {UMASK:03o}",
                f"cd {shlex.quote(os.getcwd())}",
                *(before if self.verbose else ()),
                f"{self.launcher()} {command}",
                *(["date", "echo Done."] if self.verbose else ()),
            ]
        )

    def launcher(self) -> str:
        """Return what stands before a command which is to run on all ranks."""
        found = find_mpiexec() or "mpiexec"
        return " ".join(filter(None, [shlex.quote(found), self.mpiexec]))

    def render(self, command: str, walltime: float | None = None) -> str:
        """Return the script for a shell command."""
        parts = (self.shebang(), self.preamble(walltime), self.execution(command))
        return "\n".join([*filter(None, parts), ""])

    # --- what is done with it --------------------------------------------------------------------

    def createScript(self, command: str, walltime: float | None = None) -> str:
        """Write the script to a temporary file, which only its owner can read; return its name."""
        text = self.render(command, walltime)
        descriptor, name = tempfile.mkstemp(prefix="job-", suffix=".sh")
        with os.fdopen(descriptor, "w") as script:
            script.write(text)
        os.chmod(name, stat.S_IRUSR | stat.S_IWUSR | stat.S_IXUSR)
        return name

    def submitCommand(self, scriptName: str) -> str:
        """Return the shell command which submits a script."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it submits")

    def run(self, command: str, walltime: float | None = None) -> str:
        """Write a script for a shell command, and submit it; return its name.

        Raises
        ------
        RuntimeError
            If the system can't be asked for such a job.
        SystemExit
            If submitting it fails, or it runs at once and fails, with the code of that.
        """
        name = self.createScript(command, walltime)
        submit = self.submitCommand(name)
        if self.dryrun:
            print(f"Would run: {submit}")
            return name
        sys.stdout.flush()
        if self.doExec:
            os.execl(name, name)
        code = subprocess.run(["/bin/sh", "-c", submit], check=False).returncode
        if code:
            print(f"error: {submit} ended with code {code}", file=sys.stderr)
            raise SystemExit(code if code > 0 else 1)
        return name


def _required(walltime: float) -> float:
    if walltime <= 0:
        raise RuntimeError(f"a walltime of {walltime:g} s; give --time, the seconds per element")
    return walltime


class PbsBatch(Batch):
    """A job of PBS, by nodes and processes per node."""

    def preamble(self, walltime: float | None = None) -> str:
        """Return the header."""
        seconds = _required(self.walltime if walltime is None else walltime)
        if self.numNodes <= 0 or self.numProcsPerNode <= 0 or self.numCores > 0:
            raise RuntimeError("PBS wants --nodes and --procs, and not --cores")
        return "\n".join(
            f"#PBS {option}"
            for option in (
                self.options,
                f"-l nodes={self.numNodes}:ppn={self.numProcsPerNode}",
                f"-l walltime={round(seconds)}",
                self.outputDir and f"-o {self.outputDir}",
                self.jobName and f"-N {self.jobName}",
                self.queue and f"-q {self.queue}",
                "-j oe",
                f"-W umask={UMASK:03o}",
            )
            if option
        )

    def submitCommand(self, scriptName: str) -> str:
        """Return the command line of qsub."""
        return " ".join(filter(None, ["qsub", self.submit, "-V", shlex.quote(scriptName)]))


class SlurmBatch(Batch):
    """A job of Slurm, by nodes and processes per node, or by cores."""

    @staticmethod
    def formatWalltime(walltime: float) -> str:
        """Return seconds as days-hours:minutes, rounded up."""
        minutes = int(-(-walltime // 60))
        return f"{minutes // 1440}-{minutes // 60 % 24}:{minutes % 60}"

    def preamble(self, walltime: float | None = None) -> str:
        """Return the header."""
        seconds = _required(self.walltime if walltime is None else walltime)
        if self.numCores > 0 and (self.numNodes > 0 or self.numProcsPerNode > 0):
            raise RuntimeError("Slurm wants --cores, or --nodes and --procs, not both")
        name = f"{self.jobName or 'slurm'}.o%j"
        log = shlex.quote(os.path.join(self.outputDir or os.getcwd(), name))
        return "\n".join(
            f"#SBATCH {option}"
            for option in (
                self.numNodes > 0 and f"--nodes={self.numNodes}",
                self.numProcsPerNode > 0 and f"--ntasks-per-node={self.numProcsPerNode}",
                self.numCores > 0 and f"--ntasks={self.numCores}",
                f"--time={self.formatWalltime(seconds)}",
                self.jobName and f"--job-name={shlex.quote(self.jobName)}",
                self.queue and f"-p {shlex.quote(self.queue)}",
                f"--output={log}",
                f"--error={log}",
                self.options,
            )
            if option
        )

    def submitCommand(self, scriptName: str) -> str:
        """Return the command line of sbatch."""
        return " ".join(filter(None, ["sbatch", self.submit, shlex.quote(scriptName)]))


class SmpBatch(Batch):
    """A job which runs at once, on cores of this machine."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.numNodes in {0, 1} and self.numProcsPerNode > 0 and self.numCores == 0:
            self.numCores, self.numNodes, self.numProcsPerNode = self.numProcsPerNode, 0, 0
        if self.numNodes > 0 or self.numProcsPerNode > 0:
            raise RuntimeError("on one machine (--batch-type smp) say --cores, not --nodes")

    def preamble(self, walltime: float | None = None) -> str:
        """Return nothing: nobody reads a header."""
        return ""

    def launcher(self) -> str:
        """Return mpiexec with the number of cores; without an MPI, mpipool's own ranks."""
        if find_mpiexec() is None:
            agent = f"{shlex.quote(sys.executable)} -P -m mpipool.agent_main"
            return f"{agent} --local {self.numCores} --run"
        return f"{super().launcher()} -n {self.numCores}"

    def submitCommand(self, scriptName: str) -> str:
        """Return the command which runs it."""
        return f"exec {shlex.quote(scriptName)}"


BATCH_TYPES: Final[dict[str, type[Batch] | None]] = {
    "none": None,
    "None": None,
    "pbs": PbsBatch,
    "slurm": SlurmBatch,
    "smp": SmpBatch,
}
"""By the value of ``--batch-type``; None runs in place."""


def exportEnv(environment: Mapping[str, str] | None = None) -> str:
    """Return lines of bash which make the same environment again.

    Left out are the launcher's variables, what a shell sets for itself, and what is named like a
    secret: a script may lie where others can read it.

    Parameters
    ----------
    environment : mapping, optional
        The environment; that of this process if it is not given.
    """
    kept = without_launcher(os.environ if environment is None else environment)
    lines = []
    for name, value in sorted(kept.items()):
        function = re.fullmatch(r"BASH_FUNC_(\w+)(?:%%|\(\))", name)
        if function and value.startswith("() {"):
            lines.append(f"{function[1]} {value}\nexport -f {function[1]}")
        elif re.fullmatch(r"[A-Za-z_]\w*", name) and not _withheld(name):
            lines.append(f"export {name}={shlex.quote(value)}")
    return "\n".join(lines)


def _withheld(name: str) -> bool:
    return name in _NOT_EXPORTED or any(fnmatchcase(name.upper(), kind) for kind in _SECRET)
