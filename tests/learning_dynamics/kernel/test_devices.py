"""What runs on which device, and what is refused before it runs."""

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.process import pace as paces
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.pace import check_memory, checked_devices, pace_of
from tests.learning_dynamics.kernel.models import Committee, Teacher

PROBLEM = ld.Problem(Teacher(np.ones(1)), Committee(2), 0.5)
OPTIONS = {"times": [0.1], "key": jax.random.key(0)}


class Other:
    """A device that is not there."""

    platform, device_kind, process_index = "other", "Abacus", 0

    def memory_stats(self):
        return {"bytes_limit": 2**30}


@pytest.mark.parametrize(("level", "dimension"), [("ambient", 10**6), ("overlaps", 1000)])
def test_more_replicas_than_memory_holds_are_refused_with_the_number_that_fits(level, dimension):
    many = 2**31 - 1
    with pytest.raises(ValueError, match=r"`replicas` must be at most \d+ per device") as refusal:
        ld.simulate(PROBLEM, dimension=dimension, replicas=many, level=level, **OPTIONS)
    assert str(many) in str(refusal.value) or str(many // 2 + 1) in str(refusal.value)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize(("level", "dimension"), [("ambient", 10**4), ("overlaps", 1000)])
def test_the_number_that_fits_fits_and_no_more(level, dimension, platform):
    layout = layout_of(PROBLEM, dimension, level)

    def check(replicas):
        check_memory(layout, pace_of(layout, platform, replicas), replicas, 4, [Other()])

    with pytest.raises(ValueError, match="at most") as refusal:
        check(10**9)
    fits = int(str(refusal.value).split("at most ")[1].split()[0])
    assert fits > 100
    check(int(0.9 * fits))  # groups of other replicas are a little larger
    with pytest.raises(ValueError, match="at most"):
        check(int(1.1 * fits) + 1)


def test_devices_that_tell_nothing_of_their_memory_are_trusted(monkeypatch):
    monkeypatch.setattr(paces, "_memory", lambda device: None)
    layout = layout_of(PROBLEM, 10**6, "ambient")
    check_memory(layout, pace_of(layout, "gpu", 10**9), 10**9, 4, [Other()])


@pytest.mark.parametrize(
    ("devices", "demand"),
    [
        ([], "hold at least one device"),
        (["gpu"], "be devices of this process"),
        ("gpu", "be devices of this process"),
        (0, "be devices of this process"),
        ([Other()], "be devices of this process"),
    ],
)
def test_unknown_devices_are_refused(devices, demand):
    with pytest.raises(ValueError, match=f"`devices` must {demand}"):
        ld.simulate(PROBLEM, dimension=10, replicas=1, devices=devices, **OPTIONS)


def test_a_device_is_named_once():
    with pytest.raises(ValueError, match="`devices` must hold each device once"):
        checked_devices([jax.devices()[0]] * 2, "float32")


def test_devices_without_64_bit_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(paces.jax, "local_devices", lambda: [Other()])
    with pytest.raises(ValueError, match="`precision` must be 'float32' on Abacus"):
        checked_devices(None, "float64")
    assert len(checked_devices(None, "float32")) == 1


@pytest.mark.parametrize("replicas", [1, 100, 10**6])
@pytest.mark.parametrize(("level", "dimension"), [("ambient", 10**4), ("overlaps", 1000)])
def test_accelerators_take_few_groups_of_equal_size(level, dimension, replicas):
    layout = layout_of(PROBLEM, dimension, level)
    pace = pace_of(layout, "gpu", replicas)
    groups = -(-replicas // pace.group)
    assert groups * pace.group - replicas < groups  # hardly any padding
    assert pace.unrolled
    assert pace.chunk % 2 == 0
    if level == "overlaps":
        assert groups == 1
    else:
        assert pace.group <= 1000
