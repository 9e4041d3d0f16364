import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learning_dynamics.loop import observation_gaps, observed_scan


def noisy(state, key, step):
    """A walk that depends on the state, the key and the number of the step."""
    walk, total = state
    kick = jax.random.normal(key, walk.shape)
    return 0.9 * walk + kick + 0.01 * step.astype(walk.dtype), total + step


def run(state, key, steps, start=0):
    gaps = observation_gaps(np.asarray(steps) - start)

    @jax.jit
    def compiled(state, key, gaps, start):
        return observed_scan(noisy, lambda state: state, state, key, gaps, start)

    return compiled(state, key, jnp.asarray(gaps), jnp.int32(start))


START = (jnp.array([1.0, -2.0, 0.5]), jnp.int32(0))


def by_hand(key, last):
    walk, total = np.asarray(START[0]), 0
    seen = {0: (walk, total)}
    for j in range(last):
        kick = np.asarray(jax.random.normal(jax.random.fold_in(key, j), (3,)))
        walk, total = 0.9 * walk + kick + 0.01 * j, total + j
        seen[j + 1] = (walk, total)
    return seen


def test_observations_are_those_of_a_plain_loop(key):
    steps = [0, 1, 2, 5, 11]
    (walk, total), seen = run(START, key, steps)
    expected = by_hand(key, 11)
    for i, step in enumerate(steps):
        np.testing.assert_allclose(seen[0][i], expected[step][0], rtol=1e-5, atol=1e-6)
        assert int(seen[1][i]) == expected[step][1]
    np.testing.assert_array_equal(walk, seen[0][-1])
    np.testing.assert_array_equal(total, seen[1][-1])


def test_observing_more_often_changes_nothing(key):
    _, often = run(START, key, [1, 3, 4, 8, 9, 20])
    _, rarely = run(START, key, [4, 20])
    np.testing.assert_array_equal(often[0][jnp.array([2, 5])], rarely[0])


@pytest.mark.parametrize("cut", [1, 7, 19])
def test_a_run_that_is_cut_and_continued_is_the_same_run(key, cut):
    whole, _ = run(START, key, [20])
    half, _ = run(START, key, [cut])
    rest, seen = run(half, key, [20], start=cut)
    for one, other in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(seen[1][-1]) == sum(range(20))


def test_continuing_without_the_count_is_another_run(key):
    """Control: the number of updates already made matters."""
    whole, _ = run(START, key, [20])
    half, _ = run(START, key, [7])
    wrong, _ = run(half, key, [13])
    assert not np.allclose(whole[0], wrong[0])


def test_replicas_under_vmap_are_the_single_runs(key):
    keys = jax.vmap(lambda r: jax.random.fold_in(key, r))(jnp.arange(3))
    many = jax.vmap(lambda key: run(START, key, [2, 6])[1][0])(keys)
    for r in range(3):
        single = run(START, jax.random.fold_in(key, r), [2, 6])[1][0]
        np.testing.assert_allclose(many[r], single, rtol=1e-6)


def test_gaps():
    np.testing.assert_array_equal(observation_gaps([0, 3, 4, 10]), [0, 3, 1, 6])
    np.testing.assert_array_equal(observation_gaps([5.0]), [5])
    assert observation_gaps([1]).dtype == np.int32


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "be a list of step numbers"),
        (3, "be a list of step numbers"),
        ([[1, 2]], "be a list of step numbers"),
        ([-1, 2], "be at least 0"),
        ([1.5], "be whole numbers"),
        ([1, 1], "increase strictly"),
        ([3, 2], "increase strictly"),
        ([1, np.inf], "be finite"),
        ([2**31], "2147483647"),
    ],
)
def test_bad_steps(steps, message):
    with pytest.raises(ValueError, match=f"`steps` must .*{message}"):
        observation_gaps(steps)
