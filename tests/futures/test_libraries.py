"""Libraries which take a pool, or an executor, run on this one."""

import pytest


@pytest.fixture
def scientific(world):
    """Run a script which needs libraries, where they are installed."""

    def run(script, *names):
        for name in names:
            pytest.importorskip(name, reason=f"{name} is in the extra 'dev'")
        return world(script)

    return run


def test_emcee_samples_on_it(scientific):
    def script():
        import emcee
        import numpy

        from mpipool import Pool

        def probability(x):
            return -0.5 * numpy.dot(x, x)

        sampler = emcee.EnsembleSampler(8, 2, probability, pool=Pool())
        sampler.run_mcmc(numpy.random.default_rng(1).normal(size=(8, 2)), 20)
        return sampler.get_chain().shape

    assert scientific(script, "emcee") == (20, 8, 2)


def test_scipy_evolves_on_it(scientific):
    def script():
        from scipy.optimize import differential_evolution

        from mpipool import Pool

        def bowl(x):
            return float((x**2).sum())

        found = differential_evolution(
            bowl, [(-2, 2)] * 2, workers=Pool().map, updating="deferred", maxiter=30, seed=1
        )
        return found.fun

    assert scientific(script, "scipy") < 1e-6


def test_dynesty_nests_on_it(scientific):
    def script():
        import dynesty
        import numpy

        from mpipool import Pool

        def likelihood(x):
            return -0.5 * numpy.dot(x, x)

        def prior(u):
            return 10 * u - 5

        pool = Pool()
        sampler = dynesty.NestedSampler(
            likelihood, prior, 2, nlive=50, pool=pool, queue_size=pool.size
        )
        sampler.run_nested(print_progress=False, dlogz=1.0, maxiter=100)
        return len(sampler.results.logl)

    assert scientific(script, "dynesty") > 50


def test_joblib_runs_on_it(scientific):
    def script():
        import joblib

        from mpipool import register_joblib

        def fail(number):
            if number == 5:
                raise KeyError(number)
            return number

        register_joblib()
        with joblib.parallel_config(backend="mpipool", n_jobs=-1):
            squares = joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(100))
            two = joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-i) for i in range(5))
            one = joblib.Parallel(n_jobs=1)(joblib.delayed(abs)(-i) for i in range(5))
            lazily = joblib.Parallel(return_as="generator")(
                joblib.delayed(abs)(-i) for i in range(5)
            )
            lazily = list(lazily)
            try:
                joblib.Parallel()(joblib.delayed(fail)(i) for i in range(50))
            except KeyError as error:
                failed = repr(error)
            again = joblib.Parallel()(joblib.delayed(abs)(-i) for i in range(5))
        return squares, [two, one, lazily, again], failed

    squares, others, failed = scientific(script, "joblib")
    assert squares == [i * i for i in range(100)]
    assert others == [list(range(5))] * 4
    assert failed == "KeyError(5)"


def test_joblib_works_in_tasks_by_itself(scientific):
    def script():
        import joblib

        from mpipool import Pool, register_joblib

        def task(n):
            register_joblib()
            with joblib.parallel_config(backend="mpipool"):
                return joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(n))

        return Pool().map(task, [2, 3])

    assert scientific(script, "joblib") == [[0, 1], [0, 1, 4]]
