"""The pages and the docstrings belong together: equations, sources, shapes, errors, examples."""

import functools
import importlib
import inspect
import json
import re
from pathlib import Path

import benchmark_tables
import check_pages
import docstrings
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
THEORY_PAGES = [page for page in PAGES if page.stem.startswith("theory_")]
LABEL = re.compile(r"\$\$ \((eq:[\w-]+)\)")
MENTION = re.compile(r"\{eq\}`([^`]+)`")
THEORIES = ("linear_diffusion.theory", "diffusion_theory.theory")
# What a user imports: the offers of these packages and all of these modules.
OFFERING = ("learning_dynamics.testing", "learning_dynamics.images", "linear_diffusion")
OFFERING += ("diffusion_theory", *THEORIES)
MODULES = ("hermite", "loop", "noise_schedule", "saved_results", "search.sample_complexity")
MODULES += ("spectra", *(f"evidence.{name}" for name in ("comparison", "drawing", "figures")))
MODULES += ("evidence.measurement",)


@functools.cache
def public():
    """Full name -> public function or class of any package; imported by the tests that ask."""
    return {
        name: entry
        for package in docstrings.PACKAGES
        for name, entry in docstrings.public_objects(package).items()
    }


def failures(check, names):
    """Name -> what `check` complains of, for all names with a complaint."""
    return {name: found for name in names if (found := list(check(public()[name])))}


def labels(page):
    return LABEL.findall(page.read_text("utf-8"))


ALL_LABELS = [label for page in PAGES for label in labels(page)]


def test_labels_are_unique_and_mentions_lead_somewhere():
    assert len(ALL_LABELS) == len(set(ALL_LABELS)) > 30
    for page in PAGES:
        for label in MENTION.findall(page.read_text("utf-8")):
            assert label in ALL_LABELS, f"{page.name} mentions {label}"


def test_displayed_equations_of_theory_pages_are_numbered():
    for page in THEORY_PAGES:
        pieces = page.read_text("utf-8").split("$$")
        ends = [piece.split("\n")[0] for piece in pieces[2::2]]  # what stands behind a closing $$
        assert ends, page.name
        assert all(LABEL.match(f"$${end}") for end in ends), (page.name, ends)


def test_equations_and_the_functions_that_compute_them_name_each_other():
    computed = docstrings.computed_by()
    assert all(labels(page) for page in THEORY_PAGES)
    assert [x for page in THEORY_PAGES for x in labels(page) if x not in computed] == []
    assert {label: names for label, names in computed.items() if label not in ALL_LABELS} == {}


def _theory_functions():
    return [
        name
        for name, entry in public().items()
        if name.startswith(THEORIES) and inspect.isfunction(entry) and _offered(name)
    ]


def _offered(name):
    """Whether the theory package itself offers the function."""
    package = next(theory for theory in THEORIES if name.startswith(theory))
    return name.rsplit(".", 1)[1] in importlib.import_module(package).__all__


def _without_origin(function):
    if not docstrings.equations_of(function):
        yield "no equation"
    if "Source: " not in (inspect.getdoc(function) or ""):
        yield "no source"


def test_theory_functions_name_their_equation_and_source():
    names = _theory_functions()
    assert len(names) > 30
    assert failures(_without_origin, names) == {}
    assert list(_without_origin(labels)) == ["no equation", "no source"]


# ------------------------------------------------------------------ rules of docstrings


def _held():
    """Full names of what a user imports."""
    for package in OFFERING:
        module = importlib.import_module(package)
        for name in module.__all__:
            entry = getattr(module, name)
            if f"{getattr(entry, '__module__', '')}.{name}" in public():
                yield f"{entry.__module__}.{name}"
    for module in MODULES:
        yield from (name for name in public() if name.startswith(f"learning_dynamics.{module}."))


ARRAYS = re.compile(r"Array|ndarray")


def test_all_packages_are_looked_at():
    assert len(public()) > 150
    assert {name.split(".")[0] for name in public()} == set(docstrings.PACKAGES)


def _poor_first_sentence(entry):
    text = inspect.getdoc(entry) or ""
    first = text.split("\n\n")[0]
    if not first.strip():
        yield "no docstring"
    elif not re.search(r"[.:!?]$", first) or text.startswith("Alias for field"):
        yield first


def test_docstrings_begin_with_a_sentence():
    assert failures(_poor_first_sentence, public()) == {}


def complaints(function):
    """What the docstring of a public function leaves out."""
    text = inspect.getdoc(function)
    if re.search(r"^\s+raise ", inspect.getsource(function), re.M) and "Raises:" not in text:
        yield "it raises what the docstring does not tell"
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", "cls"):
            continue
        if not re.search(rf"\b{name}\b|as in `", text):
            yield f"`{name}` is not told"
        told = re.search(rf"^\s+{name}: (.*(?:\n\s{{8,}}.*)*)", text, re.M)
        kind = str(parameter.annotation)
        array = name != "key" and ARRAYS.search(kind) and "Callable" not in kind
        # an entry may leave its shape to the one to which it broadcasts
        shaped = (told and re.search(r"shape|scalar|as for|\(", told[1])) or "broadcast" in text
        if told and array and not shaped:
            yield f"`{name}` is an array of unknown shape"


def test_docstrings_tell_arguments_shapes_and_errors():
    names = [name for name in set(_held()) if inspect.isfunction(public()[name])]
    assert len(names) > 100
    assert failures(complaints, names) == {}


def test_a_poor_docstring_is_found():
    def silent():
        pass

    def endless():
        """Something without an end"""

    assert list(_poor_first_sentence(silent)) == ["no docstring"]
    assert list(_poor_first_sentence(endless)) == ["Something without an end"]

    def poor(values: np.ndarray, other: float, third: int) -> None:
        """Do something with third.

        Args:
            values: numbers.
        """
        if other:
            raise ValueError(values)

    assert list(complaints(poor)) == [
        "it raises what the docstring does not tell",
        "`values` is an array of unknown shape",
        "`other` is not told",
    ]


def test_every_package_is_in_the_reference():
    text = (ROOT / "docs/reference.md").read_text("utf-8")
    for package in docstrings.PACKAGES:
        assert f"\napi/{package}/{package}\n" in text, package


# ------------------------------------------------------------------ examples


def test_every_example_is_shown_somewhere():
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    for script in (ROOT / "docs/examples").glob("*.py"):
        assert re.search(rf"\{{example\}} {script.stem}\b|{script.stem} -->", text), script.name


def test_every_example_and_every_claim_has_one_card():
    text = (ROOT / "docs/gallery.md").read_text("utf-8")
    cards = "\n".join(re.findall(r"```\{cards\}\n(.*?)```", text, re.S)).split()
    records = json.loads((ROOT / "docs/gallery/claims.json").read_text("utf-8"))
    scripts = [script.stem for script in (ROOT / "docs/examples").glob("*.py")]
    assert sorted(cards) == sorted(scripts + [record["id"] for record in records])


# ------------------------------------------------------------------ built pages


SKIP = '<a href="#main">skip</a><h1 id="main">A</h1>'
TABLE = '<table><caption>c</caption><tr><th scope="col">x</th></tr></table>'
GOOD = f'<html lang="en">{SKIP}<h2>B</h2><img src="a.png" alt="b"><a href="b.html">b</a>{TABLE}'


def test_whole_pages_have_no_problems(tmp_path):
    (tmp_path / "a.html").write_text(GOOD)
    assert check_pages.problems(tmp_path) == []
    assert check_pages.problems(tmp_path / "empty") == [f"{tmp_path / 'empty'}: no pages"]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (' lang="en"', "", "no language"),
        (' alt="b"', "", "no words for the image a.png"),
        (">b</a>", "><b></b></a>", "no words for the a b.html"),
        ("<table>", '<script src="https://x.org/y.js"></script><table>', "loads https://x.org/y.js"),
        ("<table>", '<button class="c"></button><table>', "no words for the button c"),
        ("<table>", '<input name="q"><table>', "no label of the input q"),
        ("<h2>", '<h2 id="main">', "id main stands twice"),
        ("h2>", "h3>", "a heading of level 3 below one of level 1"),
        ("<h2>", '<p role="heading"></p><h2>', "a heading by role without a level"),
        ('"#main"', '"b.html"', "the tab key comes to b.html before a skip link"),
        ('href="b', 'tabindex="2" href="b', "the tab key comes to a a out of the order of reading"),
        (' scope="col"', "", "a header cell without a scope"),
        ('<th scope="col">x</th>', "<td>x</td>", "a table without a th"),
        ("<caption>c</caption>", "", "a table without a caption"),
    ],
)  # fmt: skip
def test_what_a_keyboard_or_a_screen_reader_misses_is_found(tmp_path, before, after, problem):
    assert before in GOOD
    (tmp_path / "a.html").write_text(GOOD.replace(before, after))
    assert check_pages.problems(tmp_path) == [f"a.html: {problem}"]


def test_faint_colours_are_found_in_light_and_dark():
    """Black on white has the largest contrast, 21; #767676 on white is the palest legible grey."""
    assert check_pages.contrast("#000", "#ffffff") == pytest.approx(21)
    assert check_pages.contrast("#777777", "#fff") < 4.5 < check_pages.contrast("#767676", "#fff")
    light, dark = ":root { --ink: #777; --paper: #fff; }", ":root { --ink: #fff; --paper: #000; }"
    assert check_pages.faint(light + dark) == ["ink #777 on paper #fff is faint"]
    css = ".highlight { background: #202020 } "
    css += ".highlight .k { color: #666 } .highlight .w { color: #666 }"
    assert check_pages.faint_code(css, {"k", "w"}) == ["code .k #666 on #202020 is faint"]
    assert check_pages.faint_code(css, {"n"}) == []


def test_the_colours_of_reports_are_legible():
    import learning_dynamics.report as report

    page = Path(report.__file__).parent / "templates/page.html.j2"
    assert page.read_text("utf-8").count(":root {") == 3  # light, dark and paper
    assert check_pages.faint(page.read_text("utf-8")) == []


def test_punctuation_behind_formulas_stays_where_it_is():
    """Equal texts between formulas are not taken for each other."""
    nodes = pytest.importorskip("docutils.nodes")
    pytest.importorskip("math_core")
    mathml = pytest.importorskip("mathml")
    bold = nodes.strong("", "", nodes.math("", "k"))
    formulas = [nodes.math("", name) for name in "ab"]
    texts = [nodes.Text(", "), nodes.Text(", ")]
    paragraph = nodes.paragraph("", "", bold, texts[0], formulas[0], texts[1], formulas[1])
    mathml.keep_punctuation(None, paragraph)
    assert [child.astext() for child in paragraph] == ["k", ", ", "a", " ", "b"]
    assert [formula["after"] for formula in formulas[:1]] == [","]


def test_recorded_claims_hold():
    records = json.loads((ROOT / "docs/gallery/claims.json").read_text("utf-8"))
    assert records
    for record in records:
        assert (record["verdict"], record["control_verdict"]) == ("pass", "fail"), record["id"]
        for figure in record["figures"]:
            assert (ROOT / "docs/gallery" / figure["file"]).stat().st_size > 1000
    size = sum(file.stat().st_size for file in (ROOT / "docs/gallery").rglob("*.*"))
    assert size < 3_000_000


RESULTS = sorted((ROOT / "benchmarks/results").glob("*.json"))


@pytest.mark.parametrize("file", RESULTS, ids=[file.stem for file in RESULTS])
def test_every_column_of_a_benchmark_has_a_name(file):
    """Names with units or without need of one, each once; no cell is lost but what is hidden."""
    record = json.loads(file.read_text("utf-8"))
    assert file.stem in benchmark_tables.SECTIONS
    tables = benchmark_tables.tables(file.stem, record)
    assert tables
    for table in tables:
        assert len(set(table.heads)) == len(table.heads)
        assert not [head for head in table.heads if "_" in head.replace("jax_", "")]
        assert all(len(row) == len(table.heads) for row in table.rows)
    timed = {"seconds", "call_s", "first_s", "step_ms", "ms_per_cell", "us_per_update"}
    for place, words in benchmark_tables.COLUMNS.items():
        for column in timed & words.keys():
            assert re.search(r"\((s|ms)\)|ms|µs", words[column][0]), (place, column)


def test_tables_of_benchmarks_leave_nothing_out_by_accident():
    rows = [
        {"compile_s": 9.6, "at_s": 1.0, "errors": []},
        {"K": 1, "N": 10, "registers": None, "with": "PyTorch", "at_s": 2.0},
        {"K": 2, "N": 10, "error": "TimeoutError"},
    ]
    (table,) = benchmark_tables.tables("device_new", {"name": "x", "overlaps": rows, "rows": []})
    assert table.heads == ["K", "N", "program", "stopped by"]
    assert table.rows == [[1, 10, "PyTorch", None], [2, 10, "this", "TimeoutError"]]
    assert table.notes[-1].endswith("in 10 s")
    with pytest.raises(KeyError, match="novel"):
        benchmark_tables.tables("kernel", {"rows": [{"novel": 1}]})
