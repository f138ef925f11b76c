"""Every error crosses from process to process as it is."""

import inspect
import pickle

import pytest

from mpipool import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, BaseException)
]


def example(error: type[BaseException]) -> BaseException:
    """Make one with a distinct fact for each parameter of its constructor."""
    try:
        names = [name for name in inspect.signature(error.__init__).parameters if name != "self"]
    except ValueError:
        names = []
    if names in ([], ["args", "kwargs"]):
        names = ["a sentence"]
    return error(*[f"<{name}>" for name in names])


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_an_error_survives_pickling_with_its_facts_and_its_sentence(error):
    made = example(error)
    back = pickle.loads(pickle.dumps(made))
    assert type(back) is error
    assert str(back) == str(made)
    assert vars(back) == vars(made)
    assert all(str(fact) in str(made) for fact in made.args)


def test_there_are_errors_to_test():
    assert errors.TaskError in CLASSES
    assert len(CLASSES) > 8
