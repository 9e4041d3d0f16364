"""The last expression of a notebook cell shows its figure, without magic commands."""

import base64
import os
import re
from pathlib import Path

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.evidence.drawing import InlineFigure, figure_style, new_figure, save_figure
from tests.learning_dynamics.results_of_each_kind import KINDS

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("kind", ["Comparison", "Comparisons"])
def test_comparisons_show_table_and_figure(kind):
    shown = KINDS[kind]()._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html", "image/png"}
    assert shown["image/png"].startswith(PNG)
    inside = re.search(r'src="data:image/png;base64,([^"]+)"', shown["text/html"])[1]
    assert base64.b64decode(inside) == shown["image/png"]
    assert shown["text/html"].count("<tr>") == (2 if kind == "Comparison" else 3)
    assert "<b>fail</b>" in shown["text/html"]


def test_names_in_the_table_are_escaped():
    seen = ld.Measurement([1.0], 0.1, 4, {"x": [0.0]}, label="<script>")
    table = ld.compare(seen, ld.Prediction([1.0], label="a < b"), name="<b>")._repr_html_()
    assert "<script>" not in table
    assert "a &lt; b" in table
    assert "<b>pass</b>" in table


def test_what_cannot_be_drawn_shows_its_table():
    seen = ld.Measurement(np.ones((1, 1, 1)), 0.1, 4, {"x": [0], "y": [0], "z": [0]})
    shown = ld.compare(seen, ld.Prediction(np.ones((1, 1, 1))))._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}


def test_figures_show_themselves_without_global_state():
    figure, _ = new_figure()
    assert isinstance(figure, InlineFigure)
    assert figure._repr_png_().startswith(PNG)
    assert KINDS["CueLearning"]()._repr_png_().startswith(PNG)


def test_pdf_holds_letters_as_outlines(tmp_path):
    figure, axes = new_figure()
    with figure_style():
        axes[0, 0].set_title("letters")
    save_figure(figure, tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert b"/Type42" in content or b"/CIDFontType2" in content
    assert b"/Type3" not in content


CELLS = {
    "figure": "result.plot()",
    "comparison": "result",
    "comparisons": "ld.compare_each(seen, theory, theory)",
    "figure with pyplot": "import matplotlib.pyplot\nresult.plot()",
}


@pytest.mark.slow
def test_a_kernel_sends_the_figure(tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    started = manager.KernelManager()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    environment.pop("MPLBACKEND", None)
    started.start_kernel(cwd=str(tmp_path), env=environment)
    client = started.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def last(cell):
        messages = []
        client.execute_interactive(cell, timeout=300, output_hook=messages.append)
        failed = [m["content"] for m in messages if m["msg_type"] == "error"]
        assert not failed, failed
        kinds = ("execute_result", "display_data")
        shown = [m["content"]["data"] for m in messages if m["msg_type"] in kinds]
        assert len(shown) == 1, cell
        return shown[0]

    try:
        client.execute_interactive(
            "import numpy as np, learning_dynamics as ld\n"
            "seen = ld.Measurement(np.ones(3), 0.1, 4, {'x': np.arange(3)})\n"
            "theory = ld.Prediction(np.ones(3))\n"
            "result = ld.compare(seen, theory)",
            timeout=300,
        )
        for name, cell in CELLS.items():
            data = last(cell)
            assert base64.b64decode(data["image/png"]).startswith(PNG), name
            if name.startswith("comparison"):
                assert "<b>pass</b>" in data["text/html"]
    finally:
        client.stop_channels()
        started.shutdown_kernel(now=True)
