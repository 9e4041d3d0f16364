"""A class without its decorator ends in an error that names it."""

import re

import pytest

import learning_dynamics as ld


class Bare(ld.InputModel):
    directions = 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return latents["x"][None], latents["x"][0]


class BareWithNumbers(Bare):
    strength: float = 1.0


@ld.configuration
class Decorated(Bare):
    strength: float = 1.0


class Below(Decorated):
    """A subclass of a decorated class needs the decorator too."""


@ld.configuration
class Learner(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return (fields[0, 0] - sample.label) ** 2


class BareLearner(Learner):
    """Likewise."""


@pytest.mark.parametrize(
    ("argument", "inputs", "learner"),
    [
        ("inputs", Bare, Learner),
        ("inputs", BareWithNumbers, Learner),
        ("inputs", Below, Learner),
        ("learner", Decorated, BareLearner),
    ],
)
def test_a_forgotten_decorator_is_named(argument, inputs, learner):
    bare = {"inputs": inputs, "learner": learner}[argument]
    message = f"`{argument}` must be of a class decorated with @ld.configuration"
    with pytest.raises(ValueError, match=f"{re.escape(message)}.*bare class {bare.__name__}"):
        ld.Problem(inputs(), learner(), 0.1)


def test_decorated_classes_pass():
    assert ld.Problem(Decorated(2.0), Learner(), 0.1).inputs.strength == 2.0
