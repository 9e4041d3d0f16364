"""Overlaps along training, as the claims of two spikes measure them."""

import jax
import pytest

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from diffusion_theory.overlaps import overlaps_along
from diffusion_theory.theory import overlap_flow

INPUTS, LEARNER = MixedCumulant(2.0, pair="sign"), TiedDenoiser("tanh", sign=-1)
START, TIMES = [0.2, 0.1], [0.5, 2.0]


@pytest.mark.slow
def test_overlaps_follow_the_flow_and_no_other_one():
    seen = overlaps_along(
        INPUTS, LEARNER, 0.4, START, TIMES, dimension=500, replicas=200, key=jax.random.key(0)
    )
    assert list(seen.coordinates) == ["time", "direction"]
    assert seen.coordinates["direction"].tolist() == ["u", "v"]
    law = overlap_flow(INPUTS, LEARNER, 0.4, START, TIMES).with_bias(1 / 500, "1/d")
    assert ld.compare(seen, law).verdict == "pass"
    alone = overlap_flow(MixedCumulant(2.0), LEARNER, 0.4, START, TIMES)
    assert ld.compare(seen, alone.with_bias(1 / 500, "1/d")).verdict == "fail"


@pytest.mark.slow
def test_all_weights_have_the_law_of_the_chain():
    weights, chain = (
        overlaps_along(
            INPUTS, LEARNER, 0.4, START, TIMES, dimension=100, replicas=200, level=level,
            key=jax.random.key(i),
        )
        for i, level in enumerate(("ambient", "overlaps"))
    )  # fmt: skip
    assert weights.label == "all weights, d = 100"
    assert ld.compare(weights, ld.Prediction(chain.values, chain.standard_error)).verdict == "pass"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("start", {"start": [0.2]}),
        ("start", {"start": [0.9, 0.9]}),
        ("replicas", {"replicas": 1}),
        ("level", {"level": "limit"}),
    ],
)
def test_what_has_no_overlaps_along_training_is_refused_before_any_work(name, change):
    given = {"start": START, "dimension": 50, "replicas": 4, "level": "overlaps"} | change
    start = given.pop("start")
    with pytest.raises(ValueError, match=f"`{name}`"):
        overlaps_along(INPUTS, LEARNER, 0.4, start, TIMES, key=jax.random.key(0), **given)
