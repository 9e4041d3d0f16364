import io
import json
import os
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import check_pages
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from learning_dynamics import Measurement, Prediction, compare, tracking
from learning_dynamics.evidence.figures import image_grid, new_figure, plot_comparison
from learning_dynamics.markup import duration, number, plain_or_math, slug, with_error
from learning_dynamics.report import claims
from learning_dynamics.report.claims import Evidence, Panel, claim
from learning_dynamics.report.page import run_report, select_claims, write_report
from learning_dynamics.report.progress import Progressing
from learning_dynamics.report.records import LARGEST_SVG, load_records, store, strict_json

REQUIRED = {
    "id": str,
    "package": str,
    "statement": str,
    "verdict": str,
    "control_verdict": str,
    "measured": float,
    "predicted": float,
    "standard_error": float,
    "residual": float,
    "seconds": float,
    "size": str,
    "seed": int,
    "comparisons": list,
    "controls": list,
}


def comparison(shift=0.0, name="mean", spread=1.0, seed=0):
    draws = spread * np.random.default_rng(seed).standard_normal((20, 3))
    attributes = {"rates": [1, 2], "nothing": None, "yes": True, "steps": np.int64(3)}
    measured = Measurement.from_replicas(draws, {"x": [1, 2, 3]}, attributes=attributes)
    return compare(measured, Prediction(np.full(3, shift), 0.0), name=name, quantity="mean")


def evidence(shift=0.0, wrong=9.0, panels=("mean",), notes=()):
    good, bad = comparison(shift), comparison(wrong, "wrong mean")
    figure = {name: Panel(plot_comparison(good), f"caption of {name}") for name in panels}
    return Evidence([good], [bad], figure, notes)


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """An empty registry without installed packages; what is registered goes away again."""
    fresh = {}
    monkeypatch.setattr(claims, "_registry", fresh)
    monkeypatch.setattr(claims, "entry_points", lambda group: [])
    return fresh


@pytest.fixture
def quiet():
    return Progressing(Console(file=io.StringIO(), force_terminal=False))


def register(id, test, statement="means are <zero> & stay so"):
    return claim(id, statement=statement, source="here")(test)


def fails(run):
    raise ArithmeticError("no root below <kappa>")


def read(out):
    def refuse(constant):
        raise AssertionError(f"{constant} is not strict JSON")

    return json.loads((out / "claims.json").read_text(), parse_constant=refuse)


class Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.targets, self.anchors, self.tags = [], set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.targets += [found[k] for k in ("href", "src") if k in found]
        if "id" in found:
            self.anchors.add(found["id"])


@pytest.mark.slow
def test_page_json_figures_and_data_of_a_claim(tmp_path, quiet):
    register("toy/mean", lambda run: evidence(notes=["a note with $n^2$"]))
    (outcome,) = run_report(["toy/mean"], out=tmp_path, seed=3, progress=quiet)
    assert outcome.holds
    (entry,) = read(tmp_path)
    for key, kind in REQUIRED.items():
        assert isinstance(entry[key], kind), key
    assert (entry["verdict"], entry["control_verdict"], entry["seed"]) == ("pass", "fail", 3)
    summary = json.loads(strict_json(outcome.evidence.comparisons[0].summary()))
    assert summary.items() <= entry["comparisons"][0].items()
    assert entry["residual"] == summary["residual"]

    page = (tmp_path / "index.html").read_text()
    links = Links(page)
    assert check_pages.Page(page).problems == []
    assert "means are &lt;zero&gt; &amp; stay so" in page
    assert "learning-dynamics report --size quick --seed 3 toy/mean" in page
    assert "n<sup>2</sup>" in page
    assert "threefry" in page
    assert {"script", "link"}.isdisjoint(links.tags)
    for target in links.targets:  # nothing from elsewhere, nothing missing
        if target.startswith("#"):
            assert target[1:] in links.anchors
        else:
            assert (tmp_path / target).is_file(), target
    stored = xr.load_dataset(tmp_path / entry["comparisons"][0]["data"], engine="h5netcdf")
    np.testing.assert_array_equal(
        stored["measured"], outcome.evidence.comparisons[0].measured.values
    )
    assert stored.attrs["steps"] == 3


def test_headline_is_the_comparison_farthest_from_its_theory(tmp_path, quiet):
    near, far = comparison(0.1, "near"), comparison(0.9, "far", seed=1)
    register("toy/two", lambda run: Evidence([far, near], [comparison(9.0)], {}))
    run_report(out=tmp_path, progress=quiet)
    (entry,) = read(tmp_path)
    worst = max((near, far), key=lambda c: abs(c.residual[c.worst])).summary()
    for key in ("measured", "predicted", "standard_error", "residual"):
        assert entry[key] == worst[key]


def test_numbers_that_are_not_finite_stay_strict_json(tmp_path, quiet):
    lost = Measurement.from_replicas(np.full((3, 2), np.nan), {"x": [1, 2]})
    draws = Measurement.from_replicas(np.ones((3, 2)), {"x": [1, 2]})
    exact = replace(draws, rounding=0.0)
    theory = Prediction(np.zeros(2), 0.0)
    bad = [compare(m, theory, name="bad", quantity="q") for m in (lost, exact)]
    panels = {str(i): Panel(plot_comparison(c), "bad") for i, c in enumerate(bad)}
    register("toy/bad", lambda run: Evidence(bad, bad, panels))
    run_report(out=tmp_path, progress=quiet)
    (entry,) = read(tmp_path)
    assert entry["verdict"] == "fail"
    assert entry["measured"] is None
    assert entry["comparisons"][0]["residual"] is None
    assert entry["comparisons"][1]["residual"] == "Infinity"
    assert "up to 3 lost" in (tmp_path / "index.html").read_text()


def test_claim_that_raises_fails_alone(tmp_path, quiet):
    register("toy/a", fails)
    register("toy/b", lambda run: evidence())
    outcomes = run_report(out=tmp_path, progress=quiet)
    assert [o.holds for o in outcomes] == [False, True]
    first, second = read(tmp_path)
    assert first["verdict"] == "fail"
    assert first["measured"] is None
    assert "no root below <kappa>" in first["error"]
    assert second["error"] == ""
    page = (tmp_path / "index.html").read_text()
    assert "ArithmeticError: no root below &lt;kappa&gt;" in page
    assert "1 of 2 claims hold" in page


def test_figure_that_cannot_be_drawn_fails_its_claim(tmp_path, quiet):
    figure, axes = new_figure()
    axes[0, 0].set_title(r"$\nonsense{$")
    found = Evidence([comparison()], [comparison(9.0)], {"title": Panel(figure, "caption")})
    register("toy/a", lambda run: found)
    (outcome,) = run_report(out=tmp_path, progress=quiet)
    assert not outcome.holds
    assert "nonsense" in read(tmp_path)[0]["error"]
    assert not list(tmp_path.rglob(".*"))


def test_interruption_keeps_earlier_claims(tmp_path, quiet):
    def interrupt(run):
        raise KeyboardInterrupt

    register("toy/a", lambda run: evidence())
    register("toy/b", interrupt)
    register("toy/c", lambda run: evidence())
    with pytest.raises(KeyboardInterrupt):
        run_report(out=tmp_path, progress=quiet)
    assert [entry["id"] for entry in read(tmp_path)] == ["toy/a"]
    page = (tmp_path / "index.html").read_text()
    assert "not run yet: toy/b, toy/c" in page
    assert "1 of 1 claims hold" in page


def test_other_claims_and_their_dates_are_kept(tmp_path, quiet):
    register("toy/a", lambda run: evidence(panels=("old", "kept")))
    register("toy/b", lambda run: evidence())
    run_report(out=tmp_path, progress=quiet)
    path = tmp_path / "records" / "toy_b.json"
    record = json.loads(path.read_text())
    record["date"], record["versions"]["jax"] = "2020-02-02T02:02:02+00:00", "0.0.1"
    path.write_text(json.dumps(record))
    register_again = evidence(panels=("kept", "new"))
    claims._registry.pop("toy/a")
    register("toy/a", lambda run: register_again)
    run_report(["toy/a"], out=tmp_path, size="full", progress=quiet)
    first, second = read(tmp_path)
    assert (first["size"], second["size"]) == ("full", "quick")
    assert second["date"].startswith("2020-02-02")
    page = (tmp_path / "index.html").read_text()
    assert "finished 2020-02-02 02:02:02 UTC" in page
    assert "Made with jax 0.0.1." in page
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"toy_a-kept.svg", "toy_a-new.svg", "toy_b-mean.svg"}


def test_broken_record_is_left_out_with_a_warning(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "toy_a.json").write_text("{")
    with pytest.warns(UserWarning, match=r"toy_a\.json is no record"):
        assert load_records(tmp_path) == []
    with warnings.catch_warnings(action="ignore"):
        write_report([], tmp_path)
    assert read(tmp_path) == []


def test_failed_write_leaves_the_old_file(tmp_path, quiet, monkeypatch):
    register("toy/a", lambda run: evidence())
    outcomes = run_report(out=tmp_path, progress=quiet)
    before = (tmp_path / "index.html").read_bytes()

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_report(outcomes, tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before
    assert not list(tmp_path.rglob(".*"))


def test_large_figures_become_pixels(tmp_path, monkeypatch, quiet):
    assert LARGEST_SVG > 500_000
    monkeypatch.setattr("learning_dynamics.report.records.LARGEST_SVG", 1000)
    figure = image_grid([np.zeros((1, 4, 4))], ["patch"])
    found = Evidence([comparison()], [comparison(9.0)], {"patches": Panel(figure, "patches")})
    register("toy/a", lambda run: found)
    (outcome,) = run_report(out=tmp_path, progress=quiet)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["toy_a-patches.png"]
    assert store(outcome, tmp_path)["figures"][0]["file"] == "figures/toy_a-patches.png"


def test_selection_by_id_and_prefix():
    for id in ("toy/a", "toy/b", "toybox/c"):
        register(id, fails)
    assert [c.id for c in select_claims([])] == ["toy/a", "toy/b", "toybox/c"]
    assert [c.id for c in select_claims(["toy/"])] == ["toy/a", "toy/b"]
    assert [c.id for c in select_claims(["toybox/c", "toy/b", "toy/b"])] == ["toy/b", "toybox/c"]
    for unknown in ("to", "toy/z", ""):
        with pytest.raises(ValueError, match="known claims are:\n  toy/a\n  toy/b"):
            select_claims([unknown])


def test_bad_folder_and_size(tmp_path, quiet):
    register("toy/a", fails)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="Argument `out` must be a folder"):
        write_report([], tmp_path / "file")
    with pytest.raises(ValueError, match="Argument `size` must"):
        run_report(out=tmp_path, size="huge", progress=quiet)


def test_strict_json_of_everything_a_summary_may_hold():
    text = strict_json({"a": [np.float64("nan"), -np.inf, np.int64(3), True, None, {1: "β"}]})
    assert json.loads(text) == {"a": [None, "-Infinity", 3, True, None, {"1": "β"}]}


def test_progress_is_plain_lines_off_a_terminal():
    stream = io.StringIO()
    progress = Progressing(Console(file=stream, force_terminal=False, width=20))
    assert list(progress.track(range(3), "work")) == [0, 1, 2]
    progress.say("[1/2] a claim with a long name: holds")
    assert stream.getvalue() == "[1/2] a claim with a long name: holds\n"


def test_progress_bars_nest_and_end_on_a_terminal(monkeypatch):
    monkeypatch.setattr(tracking, "PATIENCE", 0.0)
    stream = io.StringIO()
    progress = Progressing(Console(file=stream, force_terminal=True, width=80, _environ={}))
    for outer in progress.track([1, 2], "outer"):
        for inner in progress.track(iter("abc"), "inner"):
            if outer == 2 and inner == "b":
                break
    assert tracking._open == {}
    assert "outer" in stream.getvalue()


def test_bar_ends_when_the_work_raises():
    progress = Progressing(Console(file=io.StringIO(), force_terminal=True, _environ={}))

    def work():
        for _ in progress.track([1], "broken"):
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        work()
    assert tracking._open == {}


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("a < b", "a &lt; b"),
        ("costs $5", "costs $5"),
        (r"$\tau = n/N$", "τ = n/N"),
        (r"$\|\hat\Sigma_1-x\|^2$", "‖Σ\u0302<sub>1</sub>−x‖<sup>2</sup>"),
        (r"$\bar{\alpha}_t^{-1/2}$", "α\u0304<sub>t</sub><sup>−1/2</sup>"),
        (r"$\unknown{<}$", r"<code>\unknown{&lt;}</code>"),
    ],
)
def test_simple_mathematics(text, page):
    assert re.sub(r"</?span[^>]*>", "", plain_or_math(text)) == page


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (with_error(1.23456, 0.00123), "1.2346 ± 0.0012"),
        (with_error(-1e-7, 2e-9), "(−1.000 ± 0.020) × 10⁻⁷"),
        (with_error(None, None), "not a number ± not a number"),
        (with_error(0.5, 0.0), "0.5 ± 0"),
        (number(-0.0), "0"),
        (number("-Infinity"), "−∞"),
        (number(1e-12), "1 × 10⁻¹²"),
        (number("early stopping"), "early stopping"),
        (duration(0.44), "0.4 s"),
        (duration(59.7), "1 min 0 s"),
        (duration(7500), "2 h 5 min"),
        (slug("KL, n > d"), "kl-n-d"),
    ],
)
def test_numbers_as_text(shown, expected):
    assert shown == expected
