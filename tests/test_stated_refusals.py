"""Calls that the page on sharp bits says are refused: each row of its table is made and raises."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learning_dynamics as ld
from linear_diffusion import LatentLaw, draw, theory

PAGE = Path(__file__).parents[1] / "docs/sharp_bits.md"
ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| (.+) \|$", re.M)
KEY = jax.random.key(0)
START = ld.order_parameters([[0.1]], [[1.0]])
RUN = {"times": [1.0], "replicas": 2, "key": KEY}


@ld.configuration
class Inputs(ld.InputModel):
    directions = 1
    vectors: int = ld.static(default=1)
    groups: int = ld.static(default=1)

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return jnp.tile(latents["x"], (self.vectors, 1)), latents["x"][0]

    def blocks(self, dimension):
        return (ld.NoiseBlocks((dimension - 1) // self.groups, np.ones(self.groups)),)


@ld.configuration
class Linear(ld.Learner):
    neurons = 1
    sign: float = 1.0

    def loss(self, fields, norms, parameters, sample):
        return self.sign * (fields[0, 0] ** 2 - 1)


@ld.configuration
class Normalised(Linear):
    normaliser = "inputs"


@ld.configuration
class Labelled(Linear):
    def loss(self, fields, norms, parameters, sample):
        return -fields[0, 0] * sample.label


PLAIN = ld.Problem(Inputs(), Linear(), 0.1)
SPHERE = ld.Problem(Inputs(), Linear(), 0.1, update="spherical")
SPECTRUM = np.ones(4)

# the second column of the table -> calls that must be refused, and the arguments that they name
REFUSED = {
    "`weight_decay` or `initial_norm` with spherical, projected and orthogonal updates": [
        ("weight_decay", lambda: replace(SPHERE, weight_decay=0.1)),
        ("initial_norm", lambda: replace(PLAIN, update="projected", initial_norm=0.1)),
        ("weight_decay", lambda: replace(PLAIN, update="orthogonal", weight_decay=0.1)),
    ],
    '`normaliser = "inputs"` with several vectors per sample': [
        ("normaliser", lambda: ld.Problem(Inputs(vectors=2), Normalised(), 0.1)),
    ],
    "more than $2^{20}$ dimensions in float32": [
        ("dimension", lambda: ld.simulate(PLAIN, dimension=2**20 + 1, level="overlaps", **RUN)),
    ],
    "`optimiser` at the level of the overlaps": [
        (
            "optimiser",
            lambda: ld.simulate(
                PLAIN, dimension=9, level="overlaps", optimiser=optax.sgd(1.0), **RUN
            ),
        ),
    ],
    "several starts": [
        (
            "start",
            lambda: ld.fluctuations(
                PLAIN,
                times=[1.0],
                start=ld.order_parameters(np.full((2, 1, 1), 0.1), np.ones((2, 1, 1))),
            ),
        ),
    ],
    "`finite_size=True` without a simulation as start": [
        ("finite_size", lambda: ld.integrate(PLAIN, times=[1.0], start=START, finite_size=True)),
    ],
    "a loss that no direction lowers, or that order one lowers": [
        ("problem", lambda: ld.search_law(SPHERE, key=KEY)),
        (
            "problem",
            lambda: ld.search_law(replace(SPHERE, learner=Labelled()), key=KEY),
        ),
    ],
    "several noise blocks": [
        (
            "problem",
            lambda: ld.common_starts(
                ld.Problem(Inputs(groups=2), Linear(), 0.1), dimension=9, replicas=2, key=KEY
            ),
        ),
    ],
    r"a mean that is infinite: $N\le d+2$ forward, $N\le d$ reverse": [
        ("samples", lambda: theory.exact_kl(4, 6, direction="forward")),
        ("samples", lambda: theory.exact_kl(4, 4, direction="reverse")),
    ],
    "a fourth moment together with a ridge": [
        (
            "fourth_moment",
            lambda: theory.kl_slope(SPECTRUM, 0.1, direction="forward", fourth_moment=24.0),
        ),
    ],
    "float64 outside `jax.enable_x64(True)`": [
        ("dtype", lambda: draw(LatentLaw(SPECTRUM), 8, key=KEY, dtype=np.float64)),
    ],
}
# tried elsewhere: tests/learning_dynamics/kernel and docs/examples/search_rates.py
ELSEWHERE = {"a rate at which no overlap grows"}


def test_every_row_of_the_page_is_tried():
    rows = [text for _, text in ROW.findall(PAGE.read_text("utf-8"))]
    assert set(rows) & {*REFUSED, *ELSEWHERE} == {*REFUSED, *ELSEWHERE}
    table = PAGE.read_text("utf-8").split("| call | refuses |")[1].split("\n\n")[0]
    assert len(ROW.findall(table)) == len(REFUSED) + len(ELSEWHERE)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(text, marks=pytest.mark.slow) if "direction lowers" in text else text
        for text in REFUSED  # the law of a search is compiled before it is refused
    ],
)
def test_the_call_is_refused_by_name(statement):
    for argument, call in REFUSED[statement]:
        with pytest.raises(ValueError, match=rf"Argument `[\w.]*{argument}"):
            call()


def test_the_bounds_of_the_exact_divergence_are_sharp():
    assert np.isfinite(theory.exact_kl(4, 7, direction="forward").values)
    assert np.isfinite(theory.exact_kl(4, 5, direction="reverse").values)
