"""The page about data of one's own: what goes in, what is kept, what it says."""

import json
import re
from types import SimpleNamespace

import check_pages
import numpy as np
import pytest
from PIL import Image

import learning_dynamics as ld
from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.inspection import inspect as page
from learning_dynamics.inspection import sections
from learning_dynamics.inspection.samples import as_samples
from learning_dynamics.inspection.sections import Findings, Number, Table, inspection
from learning_dynamics.report.cli import main
from learning_dynamics.report.records import code_digest
from learning_dynamics.tracking import track

ROWS = np.random.default_rng(0).standard_normal((40, 3))
calls = {}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """No sections but those of the test."""
    fresh = {}
    monkeypatch.setattr(sections, "_registry", fresh)
    monkeypatch.setattr(sections, "entry_points", lambda group: [])
    monkeypatch.setattr(page, "code_digest", lambda look: look.__name__)  # to follow it takes long
    calls.clear()
    return fresh


def comparison(shift, name="mean"):
    draws = np.random.default_rng(1).standard_normal((20, 3))
    measured = Measurement.from_replicas(draws, {"x": [1, 2, 3]})
    return compare(measured, Prediction(np.full(3, shift), 0.0), name=name, quantity="mean")


def counted(samples, key):
    calls["counted"] = calls.get("counted", 0) + 1
    for _ in track(range(2), "inside"):
        pass
    numbers = [
        Number("rows <of> the data", float(len(samples.rows)), 0.5, "how many"),
        Number("distance", 0.0, 0.25, "its square is cut at zero", below=0.5),
        Number("guess", 7.0, 0.5, error_is="numerical error", unclaimed=True),
    ]
    answer = "There are <forty> rows. " + "They answer at length. " * 5
    return Findings(
        numbers, answer=answer.strip(), tables=[Table("table & title", ("a", "b"), (("x", "y"),))]
    )


def judged(samples, key):
    shift = 9.0 if calls.get("wrong") else 0.0
    unclaimed = [(comparison(7.0, "another law"), "that law is of other data")]
    return Findings(comparisons=[comparison(shift)], unclaimed=unclaimed)


def broken(samples, key):
    if calls.get("mended"):
        return Findings()
    raise ArithmeticError("no root below <kappa>")


def interrupted(samples, key):
    if calls.get("stop"):
        raise KeyboardInterrupt
    return Findings()


def register(id, look):
    inspection(id, title=f"title of {id}", source="here")(look)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.where(np.arange(120).reshape(40, 3) == 50, np.nan, ROWS), "NaN .* 1 of 40 .* row 16"),
        (np.where(np.arange(120).reshape(40, 3) == 50, np.inf, ROWS), "infinity in 1 of 40"),
        (np.ones((40, 3)), "`data` must vary, but got 40 equal rows"),
        (ROWS[:15], "at least 16 different rows, but got 15"),
        (np.tile(ROWS[:9], (9, 1)), "at least 16 different rows, but got 9"),
        (ROWS[0], r"samples by features \(n, d\), or images"),
        (np.ones((2, 2, 2, 2, 2)), "samples by features"),
        (ROWS + 1j, "real"),
        ([["a", "b"]], "`data` must"),
        (np.array([["a", "b"]] * 20), "`data` must be an array of real numbers"),
        ("nowhere/at/all", "exist, or be a bundled set .*photographs"),
        (np.zeros((3, 6, 6), np.uint8), "at least 8 pixels a side, or at least 64 equal ones"),
        ([np.zeros((30, 30), np.uint8), np.zeros((4, 30), np.uint8)], "8 pixels .* down to 4"),
        (np.zeros((1, 40, 40), np.uint8), "`data` must vary"),
        (np.full((70, 6, 6), 7, np.uint8), "`data` must vary"),
        (np.full((3, 40, 40), np.nan, np.float32), "NaN or infinity in 3 of 3"),
        (np.zeros((2100, 2100), np.float32), "at most 2048 columns or 2048 rows"),
    ],
    ids=["nan", "inf", "constant", "small", "duplicated", "vector", "rank 5", "complex", "text",
         "rows of text",
         "missing", "small images", "mixed sizes", "one constant image", "constant images",
         "nan images", "huge"],
)  # fmt: skip
def test_data_that_cannot_be_inspected_get_one_clear_sentence(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        as_samples(data)
    assert "\n" not in str(caught.value)


def test_file_that_holds_no_data(tmp_path, capsys):
    register("a/one", counted)
    file = tmp_path / "notes.txt"
    file.write_text("not data")
    with pytest.raises(SystemExit) as caught:
        main(["inspect", str(file), "--out", str(tmp_path / "page")])
    assert caught.value.code == 2
    assert "notes.txt" in capsys.readouterr().err
    assert not (tmp_path / "page" / "index.html").exists()


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1.0])
def test_rows_are_scaled_to_variance_one_whatever_their_unit(scale):
    samples = as_samples(ROWS * [1.0, 3.0, 0.2] * scale)
    np.testing.assert_allclose(samples.spectrum.spectrum.mean(), 1, rtol=1e-12)
    cov = np.cov((ROWS * [1.0, 3.0, 0.2]).T, bias=True)
    cov *= 3 / np.trace(cov)
    np.testing.assert_allclose(samples.spectrum.spectrum, np.linalg.eigvalsh(cov)[::-1], rtol=1e-9)
    assert "Rows are divided by" in samples.notes[-1]
    assert ("as they were given" in samples.notes[-1]) == (scale == 1)


def test_the_page_tells_what_turns_its_ridges_into_those_of_the_data():
    given = 0.3 * ROWS + 5
    samples = as_samples(given)
    factor = float(re.search(r"times (\S+) are those", samples.notes[-1]).group(1))
    largest = np.linalg.eigvalsh(np.cov(given.T, bias=True))[-1]
    np.testing.assert_allclose(samples.spectrum.spectrum[0] * factor, largest, rtol=1e-3)


def test_repeated_rows_and_still_features_are_left_out_and_told():
    samples = as_samples(np.c_[np.concatenate([ROWS, ROWS[:7]]), np.full(47, 5.0)])
    assert samples.rows.shape == (40, 4)
    assert samples.spectrum.spectrum.shape == (3,)
    told = " ".join(samples.notes)
    assert "7 of 47 rows repeat" in told
    assert "1 of 4 features never vary" in told


def test_fewer_rows_than_features():
    rows = np.random.default_rng(3).standard_normal((20, 50))
    samples = as_samples(rows)
    assert samples.spectrum.spectrum.shape == (19,)
    assert samples.coordinates.shape == (20, 19)
    np.testing.assert_allclose(samples.coordinates.var(axis=0), samples.spectrum.spectrum)


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("images", "rows", "told"),
    [
        (pixels(1, 40, 48), (825, 256), "one image"),
        ([pixels(30, 20, 3), pixels(16, 40)], None, "2 images of different sizes"),
        (pixels(80, 6, 5), (80, 30), ""),
        (pixels(80, 9, 9, 3), (80, 81), "grey by their luminance"),
        (pixels(5, 8, 8).astype(np.float32) / 255, (125, 16), "patches of 4 × 4 pixels"),
    ],
    ids=["one image", "mixed sizes", "whole", "colours", "floats"],
)
def test_rows_of_images(images, rows, told):
    samples = as_samples(images)
    assert rows is None or samples.rows.shape == rows
    assert told in " ".join(samples.notes)
    assert "mean grey level" in " ".join(samples.notes)
    np.testing.assert_allclose(samples.rows.mean(axis=1), 0, atol=1e-12)
    count, d = samples.rows.shape
    assert samples.spectrum.spectrum.size == min(d, count) - 1
    assert len(samples.images) == len(samples.rows)
    assert len({picture.shape for picture in samples.pictures}) == 1


@pytest.mark.parametrize(("side", "window"), [(8, 4), (28, 14), (63, 30), (64, 32)])
def test_one_square_image_gives_several_windows(side, window):
    """One window alone has no jackknife error."""
    windows = as_samples(pixels(1, side, side)).windows
    assert windows.shape[1:] == (window, window)
    assert len(windows) >= 10


def test_same_images_from_memory_folder_array_file_and_bundle(tmp_path):
    images = pixels(3, 40, 40)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "rows.npy", ROWS)
    known = as_samples(images).rows
    np.testing.assert_array_equal(as_samples(tmp_path / "images.npy").rows, known)
    (tmp_path / "images.npy").rename(tmp_path.parent / "images.npy")
    (tmp_path / "rows.npy").rename(tmp_path.parent / "rows.npy")
    np.testing.assert_array_equal(as_samples(tmp_path).rows, known)
    rows = as_samples(tmp_path.parent / "rows.npy")
    np.testing.assert_array_equal(rows.rows, as_samples(ROWS).rows)
    assert rows.name == "array file rows.npy"
    assert as_samples("digits").rows.shape[1] == 64


def test_page_says_what_was_found(tmp_path):
    register("b/judged", judged)
    register("a/counted", counted)
    register("c/broken", broken)
    found = ld.inspect(ROWS, tmp_path / "page", name="my <data>", tracker=None)
    assert found.verdicts == {"a/counted": "", "b/judged": "pass", "c/broken": "error"}
    assert found.numbers["a/counted"] == {
        "rows <of> the data": (40.0, 0.5), "distance": (0.0, 0.25), "guess": (7.0, 0.5),
    }  # fmt: skip
    text_of_page = found.page.read_text()
    assert check_pages.Page(text_of_page).problems == []
    for text in ("my &lt;data&gt;", "rows &lt;of&gt; the data", "± 0.5",
                 "table &amp; title", "not claimed here", "that law is of other data",
                 "no root below &lt;kappa&gt;"):  # fmt: skip
        assert text in text_of_page
    assert "http" not in text_of_page.replace("http-equiv", "")
    assert "refresh" not in text_of_page
    published = json.loads((tmp_path / "page" / "inspection.json").read_text())
    assert [section["verdict"] for section in published["sections"]] == ["", "pass", "error"]
    assert "a/counted" in repr(found)


def test_answers_come_first(tmp_path, capsys):
    """On the page, in the file, in the representation and on the terminal."""
    register("a/counted", counted)
    register("b/judged", judged)
    found = ld.inspect(ROWS, tmp_path / "page", tracker=None)
    [answer] = found.answers.values()
    assert list(found.answers) == ["a/counted"]
    lines = repr(found).splitlines()
    assert lines[1].startswith("  There are <forty> rows. They answer")
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 12
    text = found.page.read_text()
    assert 0 < text.index("There are &lt;forty&gt; rows.") < text.index("<h2")
    published = json.loads((tmp_path / "page" / "inspection.json").read_text())
    assert [section["answer"] for section in published["sections"]] == [answer, ""]
    np.save(tmp_path / "rows.npy", ROWS)
    main(["inspect", str(tmp_path / "rows.npy"), "--out", str(tmp_path / "page")])
    assert capsys.readouterr().out.startswith(answer)


def test_rows_of_numbers_say_what_they_are(tmp_path):
    """What stands behind ±; a bound where zero is not excluded; a theory that is not claimed."""
    register("a/counted", counted)
    text = ld.inspect(ROWS, tmp_path, tracker=None).page.read_text()
    rows = re.findall(r'<tr><th scope="row">(?:(?!</tr>).)*</tr>', text, re.DOTALL)
    counts, distance, guess = (re.sub(r"<[^>]*>|\s+", " ", row) for row in rows[:3])
    assert "how many; ± standard error" in counts
    assert "not claimed" not in counts
    assert "below 0.5" in distance
    assert "±" not in distance
    assert "± numerical error" in guess
    assert "7.00 ± 0.50" in guess
    assert "not claimed here" in guess


def test_theory_that_is_wrong_for_the_data_fails(tmp_path):
    register("b/judged", judged)
    calls["wrong"] = True
    assert ld.inspect(ROWS, tmp_path, tracker=None).verdicts == {"b/judged": "fail"}


@pytest.mark.parametrize("tracker", [lambda items, description: items, "auto"])
def test_sections_are_found_again_by_data_code_and_seed(tmp_path, monkeypatch, tracker):
    """With the identity of code: what shows the progress is no part of it."""
    monkeypatch.setattr(page, "code_digest", code_digest)
    register("a/counted", counted)
    first = ld.inspect(ROWS, tmp_path, tracker=None)
    again = ld.inspect(ROWS.copy(), tmp_path, tracker=tracker)
    assert calls["counted"] == 1
    assert again.records == first.records
    ld.inspect(ROWS, tmp_path, seed=1, tracker=tracker)
    ld.inspect(2 * ROWS + 1e-9 * ROWS**2, tmp_path, tracker=tracker)
    assert calls["counted"] == 3


def test_section_without_its_figures_or_with_a_damaged_record_is_done_again(tmp_path):
    register("b/judged", judged)
    register("a/counted", counted)
    ld.inspect(ROWS, tmp_path, tracker=None)
    (tmp_path / "sections" / "a_counted.json").write_text('{"format"')
    next((tmp_path / "data").glob("*.nc")).unlink()
    found = ld.inspect(ROWS, tmp_path, tracker=None)
    assert calls["counted"] == 2
    assert all((tmp_path / each["data"]).is_file() for each in found.records[1]["comparisons"])


def test_interrupted_inspection_goes_on(tmp_path, capsys):
    np.save(tmp_path / "rows.npy", ROWS)
    register("a/counted", counted)
    register("b/interrupted", interrupted)
    command = ["inspect", str(tmp_path / "rows.npy"), "--out", str(tmp_path / "page")]
    calls["stop"] = True
    assert main(command) == 130
    assert "finished sections are kept" in capsys.readouterr().err
    assert "not done yet: b/interrupted" in (tmp_path / "page" / "index.html").read_text()
    calls["stop"] = False
    assert main(command) == 0
    assert calls["counted"] == 1
    assert "not done yet" not in (tmp_path / "page" / "index.html").read_text()


def test_section_with_an_error_is_tried_again(tmp_path):
    register("c/broken", broken)
    assert ld.inspect(ROWS, tmp_path, tracker=None).verdicts == {"c/broken": "error"}
    calls["mended"] = True
    assert ld.inspect(ROWS, tmp_path, tracker=None).verdicts == {"c/broken": ""}


def test_plugin_that_cannot_be_imported_costs_its_own_sections(tmp_path, monkeypatch, capsys):
    register("a/counted", counted)
    entry = SimpleNamespace(name="lost", value="module_that_is_nowhere")
    asked = []
    monkeypatch.setattr(sections, "entry_points", lambda group: asked.append(group) or [entry])
    np.save(tmp_path / "rows.npy", ROWS)
    assert main(["inspect", str(tmp_path / "rows.npy"), "--out", str(tmp_path / "page")]) == 3
    assert asked == ["learning_dynamics.inspections"]
    assert "The sections of lost are missing" in (tmp_path / "page" / "index.html").read_text()
    assert "plug-in lost" in capsys.readouterr().err


def test_without_sections_there_is_nothing_to_do(tmp_path):
    with pytest.raises(ValueError, match="no package with sections"):
        ld.inspect(ROWS, tmp_path)


@pytest.mark.parametrize("id", ["one", "A/b", "a/b/c"])
def test_bad_id(id):
    with pytest.raises(ValueError, match="`id` must"):
        register(id, counted)


def test_taken_id():
    register("a/one", counted)
    register("a/one", counted)
    with pytest.raises(ValueError, match="be new"):
        register("a/one", judged)


def test_table_with_a_missing_cell():
    with pytest.raises(ValueError, match="2 entries"):
        Table("t", ("a", "b"), (("x",),))
