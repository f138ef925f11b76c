"""The pool as a backend of joblib; the only module that needs joblib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joblib._parallel_backends import AutoBatchingMixin, SequentialBackend
from joblib.parallel import FallbackToBackend, ParallelBackendBase

from mpipool.futures.future import Future
from mpipool.futures.submissions import cancel_all_of
from mpipool.futures.submitter import Submitter
from mpipool.launch import connect_for


class PoolBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """What joblib asks of a backend, on the ranks of the pool.

    Inside a task it is sequential: joblib waits in a way in which the core of the task can't be
    used by what it waits for.
    """

    supports_retrieve_callback = True
    uses_threads = False
    supports_sharedmem = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._caller = connect_for(None)
        self._submitter: Submitter | None = None
        self._futures: set[Future] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls run at once: ``n_jobs``, but no more than there are ranks.

        Raises
        ------
        ValueError
            If ``n_jobs`` is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if self._caller.in_task:
            return 1
        size = self._caller.size
        if n_jobs is None:
            return size
        return max(size + 1 + n_jobs, 1) if n_jobs < 0 else min(n_jobs, size)

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_: Any) -> int:
        """Get ready for a call of Parallel; return how many run at once."""
        jobs = self.effective_n_jobs(n_jobs)
        if jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._submitter = Submitter(self._caller, most=jobs if jobs < self._caller.size else None)
        return jobs

    def get_nested_backend(self) -> tuple[Any, None]:
        """Return what joblib uses inside the calls."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def submit(self, func: Callable[..., Any], callback: Callable[[Any], None]) -> Future:
        """Have a batch run."""
        assert self._submitter, "joblib configures a backend before it submits"
        future = self._submitter.submit(func, (), {})
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future) -> Any:
        """Return the result of a batch that has ended."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what did not begin."""
        cancel_all_of(list(self._futures))

    def terminate(self) -> None:
        """End a call of Parallel."""
        if self._submitter:
            self._submitter.close()
            self._submitter = None
