"""Results show themselves in a few lines, also with traced arrays and placeholders in them."""

import ast
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from diffusion_theory.networks import clones
from learning_dynamics import short_text
from learning_dynamics.images import ImageSet
from learning_dynamics.spectra import from_data
from linear_diffusion.data import EmpiricalLaw, LatentLaw
from linear_diffusion.simulation import draw_modes
from linear_diffusion.theory import losses
from tests.learning_dynamics.results_of_each_kind import KINDS

# what a person wants to know of each
TOLD = {
    "Trajectory": ["overlaps, N = 100, 4 replicas, float32", "signal (4, 3, 2, 1)", "0.5, 1, 2",
                   "50, 100, 200", "4 of 4", "2 of 4 after 3 to 200 updates, 1 diverged", "0.1 s"],
    "Overlaps": ["K = 2, r = 1", "(4, 2, 1) float64"],
    "Limit": ["N -> infinity, beside N = 100", "signal (3, 1, 2)", "at most 1e-09", "968 nodes"],
    "Fluctuations": ["0.5, 1, 2", "signal (3, 1, 2), times N^1/2", "fields"],
    "Estimate": ["sobol, 1024 points", "signal [[", "one 2.5"],
    "InformationExponent": ["order 2, attractive: -0.5 +- 1e-09", "flat along"],
    "LeapMap": ["leaps 2", "order 2 along [1.0, 0.0]", "nothing more up to order 2"],
    "SearchLaw": ["order k = 3", "n*/N^2", "50, 1 infinite", "form 1e-09"],
    "Recoveries": ["1 replicas", "10, 20", "median samples"],
    "ExponentFit": ["exponent 2.000, from 1.000 to 1.000"],
    "Measurement": ["simulation, 5 replicas", "time", "0.5, 1, 2", "lost", "up to 1"],
    "Prediction": ["theory", "at most 1e-09", "1/N"],
    "Comparison": ["one: fail", "theory", "simulation, 5 replicas", "accepted, at time =", "lost"],
    "Comparisons": ["both: fail", "one", "two", "residuals at most"],
    "Training": ["2 replicas of 10 parameters", "0, 2, 4", "narrow (2, 3)", "1.5 s"],
    "CueLearning": ["4 seeds", "0, 1, 5", "phase (4, 3)", "0.5", "offered", "mean"],
    "FilterLearning": ["4 seeds, subspace of 3 directions", "0, 1, 5", "at random 0.25"],
    "BetweenClasses": ["0.25 +- 0.01 of the variance, class means differ"],
    "Optimum": ["until tau = 2", "7 values", "2 of 7 in learning_rate", "0.2 at 0.3", "1e-05"],
    "DenoiserLearning": ["2 seeds of 10 parameters", "real (2, 3)", "0, 5"],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_results_tell_what_they_are_in_a_few_lines(kind):
    text = repr(KINDS[kind]())
    assert text.startswith(f"{kind}: ")
    assert len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) <= 100
    for part in TOLD[kind]:
        assert part in text, text


def test_large_results_stay_short():
    names = {f"a long name of an observable {i}": np.zeros((1000, 500)) for i in range(40)}
    state = ld.Overlaps(np.zeros((1000, 9, 9)), np.zeros((1000, 3, 9, 9)), names)
    times = np.arange(500.0)
    big = ld.Trajectory("ambient", 9, times, times.astype(int), names, state, state)
    many = {f"axis{i}": np.arange(1) for i in range(30)}
    wide = ld.Measurement(np.zeros((1,) * 30), 1.0, 4, many)
    several = ld.compare_each(wide, *[ld.Prediction(np.zeros((1,) * 30))] * 30, name="x" * 300)
    for result in (big, state, wide, several):
        lines = repr(result).splitlines()
        assert len(lines) <= 12
        assert max(map(len, lines)) <= 100
    assert "500, from 0 to 499" in repr(big)
    assert "and 39 more" in repr(big)


def test_traced_and_deleted_arrays_are_shown_by_shape():
    texts = []

    def look(signal, blocks):
        texts.append(repr(ld.Overlaps(signal, blocks, {"a": signal[0, 0]})))
        return signal

    jax.jit(look)(jnp.ones((2, 1)), jnp.ones((1, 2, 2)))
    jax.vmap(look)(jnp.ones((3, 2, 1)), jnp.ones((3, 1, 2, 2)))
    jax.grad(lambda m: look(m, jnp.ones((1, 2, 2))).sum())(jnp.ones((2, 1)))
    assert all("(2, 1) float32, traced" in text and "() float32, traced" in text for text in texts)
    assert len(texts) == 3
    gone = jnp.ones(3)
    gone.delete()
    assert "(3,) float32" in repr(ld.Overlaps(jnp.ones((1, 1)), gone, {}))
    keys = jax.random.split(jax.random.key(0), 2)
    assert "(2,) key<fry>" in repr(ld.Overlaps(jnp.ones((1, 1)), keys, {}))


@pytest.mark.parametrize("kind", ["Trajectory", "Fluctuations", "Estimate", "Limit"])
def test_traced_results_are_shown_by_shape(kind):
    given, texts = KINDS[kind](), []
    fields = [f for f in given.__dataclass_fields__ if f not in ("attributes", "level")]
    kept = {f: getattr(given, f) for f in fields}
    leaves, structure = jax.tree.flatten(kept)
    at = [i for i, x in enumerate(leaves) if getattr(x, "dtype", None) == np.float64]

    def look(arrays):
        for i, array in zip(at, arrays, strict=True):
            leaves[i] = array
        result = object.__new__(type(given))
        for name, value in (given.__dict__ | jax.tree.unflatten(structure, leaves)).items():
            object.__setattr__(result, name, value)
        texts.append(repr(result))

    jax.jit(look)([leaves[i].astype(np.float32) for i in at])
    assert len(texts[0].splitlines()) <= 12
    assert "traced" in texts[0]


def test_placeholders_of_jax_do_no_harm():
    shapeless = jax.tree.map(lambda _: object(), KINDS["Overlaps"]())
    assert repr(shapeless).splitlines()[0] == "Overlaps"
    assert "object" in repr(shapeless)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), KINDS["Overlaps"]())
    assert "(4, 2, 1) float64" in repr(shapes)
    assert "None" in repr(ld.Overlaps(None, 0, {"a": None}))


def test_texts_of_arrays():
    assert short_text.array_text(np.float64(1.5)) == "1.5"
    assert short_text.array_text(np.arange(3)) == "[0, 1, 2]"
    assert short_text.array_text(np.zeros((3, 4), np.float32)) == "(3, 4) float32"
    assert short_text.extent(np.full(9, np.nan)) == "(9,), none finite"
    assert short_text.extent(np.r_[np.arange(8.0), np.inf]).endswith("from 0 to 7, 1 not finite")
    assert short_text.largest({"a": np.zeros(2), "b": np.array([np.nan])}) == "at most nan (b)"
    assert short_text.largest({"a": np.zeros(0)}) == ""


def test_data_and_their_spectra_are_shown_in_a_few_lines():
    rows = np.random.default_rng(0).normal(size=(40, 5))
    law = EmpiricalLaw.of(rows)
    key = jax.random.key(0)
    shown = [from_data(rows), law, LatentLaw(np.ones(5)), draw_modes(law, [8], replicas=2, key=key)]
    for result in shown:
        lines = repr(result).splitlines()
        assert len(lines) <= 12
        assert lines[0] == type(result).__name__
        assert any(line.split()[0] == "spectrum" for line in lines[1:])


ROOT = Path(__file__).parents[2]
PACKAGES = ("learning_dynamics", "linear_diffusion", "fourier_simplicity", "diffusion_theory")
INSIDE = {"Sample", "Moments"}  # of the kernel: they live in traces, and nobody prints them


def test_public_results_with_arrays_have_a_short_representation():
    """Those that a package names: the ones without it would print all their numbers."""
    files = [file for name in PACKAGES for file in (ROOT / name).rglob("*.py")]
    named = "".join(file.read_text("utf-8") for file in files if file.name == "__init__.py")
    public = set(re.findall(r'"(\w+)"', named))
    seen, without = 0, []
    for file in files:
        for node in ast.parse(file.read_text("utf-8")).body:
            if not isinstance(node, ast.ClassDef) or node.name not in public - INSIDE:
                continue
            kinds = [ast.unparse(each) for each in (*node.bases, *node.decorator_list)]
            if not any(kind == "NamedTuple" or kind.startswith("dataclass") for kind in kinds):
                continue
            fields = [ast.unparse(x.annotation) for x in node.body if isinstance(x, ast.AnnAssign)]
            if re.search("Array|Measurement|Prediction", " ".join(fields)):
                seen += 1
                if "__repr__" not in ast.unparse(node):
                    without.append(f"{file.relative_to(ROOT)}: {node.name}")
    assert seen > 30
    assert not without


def test_clones_images_and_results_of_results_are_shown_in_a_few_lines():
    rng = np.random.default_rng(0)
    text = repr(clones(rng.normal(size=(80, 6, 6)), key=0))
    assert re.search(r"covariance +\(80, 6, 6\) float32", text)
    assert len(text.splitlines()) == 5
    text = repr(losses(np.ones(10), [20, 30], 0.0, 0.9))
    assert re.search(r"test +.*\[", text)
    assert len(text.splitlines()) == 4
    images = ImageSet((np.zeros((4, 4), np.uint8), np.zeros((5, 4), np.uint8)), None, (), "mine")
    assert repr(images).splitlines()[0] == "ImageSet: 2 images"
    assert "different sizes" in repr(images)
