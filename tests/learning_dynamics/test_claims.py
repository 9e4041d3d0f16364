import zlib

import jax
import numpy as np
import pytest

from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.evidence.figures import new_figure
from learning_dynamics.report import claims, plugins
from learning_dynamics.report.claims import Evidence, Outcome, Run, claim, load_claims, run_claim
from learning_dynamics.sweeps import Store


def comparison(shift=0.0):
    draws = np.random.default_rng(0).standard_normal((20, 3))
    measured = Measurement.from_replicas(draws, {"x": [1, 2, 3]})
    return compare(measured, Prediction(np.full(3, shift), 0.0), name="mean", quantity="mean")


def evidence(shift=0.0, wrong=9.0):
    return Evidence([comparison(shift)], [comparison(wrong)], {"mean": None})


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """An empty registry without installed packages; what is registered goes away again."""
    fresh = {}
    monkeypatch.setattr(claims, "_registry", fresh)
    monkeypatch.setattr(claims, "entry_points", lambda group: [])
    return fresh


def register(id, test):
    return claim(id, statement=f"statement of {id}", source="here")(test)


def test_claims_come_sorted_with_their_package():
    register("b/two", lambda run: evidence())
    register("a/one", lambda run: evidence())
    found = load_claims()
    assert list(found) == ["a/one", "b/two"]
    assert found["a/one"].package == __name__.split(".")[0]
    assert found["a/one"].statement == "statement of a/one"


def test_entry_points_are_imported(monkeypatch):
    class Entry:
        value = "learning_dynamics.validation"

    asked = []
    monkeypatch.setattr(claims, "entry_points", lambda group: asked.append(group) or [Entry()])
    monkeypatch.setattr(plugins.importlib, "import_module", asked.append)
    load_claims()
    assert asked == ["learning_dynamics.claims", "learning_dynamics.validation"]


def test_taken_identifier_is_refused_and_reloading_is_not():
    def first(run):
        return evidence()

    def second(run):
        return evidence()

    register("a/one", first)
    register("a/one", first)
    with pytest.raises(ValueError, match="Argument `id` must be new"):
        register("a/one", second)


@pytest.mark.parametrize("id", ["", "one", "a/b/c", "A/one", "a/../b", "a/one two"])
def test_identifier_that_cannot_name_a_file_is_refused(id):
    with pytest.raises(ValueError, match="Argument `id` must"):
        register(id, lambda run: evidence())


def test_run_hands_over_size_key_and_tracker(registry):
    seen = {}

    def test(run):
        seen.update(size=run.size, quick=run.quick, key=run.key, items=list(run.track("ab", "do")))
        return evidence()

    def tracker(items, description):
        seen["description"] = description
        yield from items

    register("a/one", test)
    outcome = run_claim(registry["a/one"], size="full", seed=5, tracker=tracker)
    assert outcome.holds
    assert outcome.seconds > 0
    assert (outcome.size, outcome.seed) == ("full", 5)
    own = jax.random.fold_in(jax.random.key(5), zlib.crc32(b"a/one"))
    assert seen.pop("key") == own  # claims of one seed draw independently
    assert seen == {"size": "full", "quick": False, "items": ["a", "b"], "description": "do"}


def test_track_without_tracker_gives_the_items():
    assert list(Run("quick", jax.random.key(0)).track([1, 2], "do")) == [1, 2]


def reciprocal(x):
    return {"y": 1 / x}


def test_failed_cell_of_a_sweep_stops_the_claim_and_the_others_are_kept(tmp_path):
    run = Run("quick", jax.random.key(0), store=tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)1 of 2 cells are missing: .*x=0: ZeroDivision"):
        run.sweep(reciprocal, {"x": [2, 0]})
    assert len(Store(tmp_path).keys()) == 1


def test_errors_propagate(registry):
    register("a/one", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_claim(registry["a/one"])
    with pytest.raises(ValueError, match="Argument `size` must"):
        run_claim(registry["a/one"], size="huge")


def test_claim_must_return_evidence(registry):
    register("a/one", lambda run: None)
    with pytest.raises(TypeError, match="must return Evidence"):
        run_claim(registry["a/one"])


@pytest.mark.parametrize(
    ("found", "verdicts"),
    [
        (evidence(), ("pass", "fail", True)),
        (evidence(shift=9.0), ("fail", "fail", False)),
        (evidence(wrong=0.0), ("pass", "pass", False)),
        (None, ("fail", "pass", False)),
        (
            Evidence([comparison(), comparison(9.0)], [comparison(9.0), comparison()], {}),
            ("fail", "pass", False),
        ),
    ],
)
def test_verdicts(registry, found, verdicts):
    register("a/one", lambda run: found)
    outcome = Outcome(registry["a/one"], found, 1.0, "quick", 0)
    assert (outcome.verdict, outcome.control_verdict, outcome.holds) == verdicts


@pytest.mark.parametrize("name", ["comparisons", "controls"])
def test_evidence_needs_comparisons_and_controls(name):
    given = {"comparisons": [comparison()], "controls": [comparison(9.0)], "panels": {}}
    with pytest.raises(ValueError, match=f"Argument `{name}` must hold at least one"):
        Evidence(**(given | {name: []}))


def test_evidence_of_parts_adds_up():
    one = Evidence([comparison()], [comparison(9.0)], {"a": None}, ("first",))
    two = Evidence([comparison(1.0)], [comparison(8.0)], {"b": None}, ("second",))
    both = one + two
    assert both.comparisons == [*one.comparisons, *two.comparisons]
    assert both.controls == [*one.controls, *two.controls]
    assert (list(both.panels), both.notes) == (["a", "b"], ("first", "second"))
    with pytest.raises(ValueError, match="Argument `panels"):
        _ = one + one
    for tests in ([[]], [comparison()]):
        with pytest.raises(ValueError, match="Argument `tests"):
            Evidence.of(tests, {})


def test_evidence_of_tests_takes_the_first_of_each_as_what_must_pass():
    a, b, c, d = (comparison() for _ in range(4))
    evidence = Evidence.of([[a, b], [c], [d]], {}, ["note"])
    assert (evidence.comparisons, evidence.controls) == ([a, c, d], [b])
    assert evidence.notes == ["note"]


def test_panel_keeps_figure_and_caption():
    figure, _ = new_figure()
    assert claims.Panel(figure, "caption").caption == "caption"
