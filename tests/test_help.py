"""`help` of public functions shows names of types, not what they stand for."""

import importlib
import inspect
import pydoc

import pytest

PUBLIC = ("learning_dynamics", "fourier_simplicity", "diffusion_theory", "linear_diffusion")
ROOMS = ("training", "images", "testing", "spectra", "search.sample_complexity", "evidence.figures")


def functions(name):
    """Public functions, classes and methods of a module, by name."""
    module = importlib.import_module(name)
    for public in [entry for entry in dir(module) if not entry.startswith("_")]:
        thing = getattr(module, public)
        if not callable(thing) or not getattr(thing, "__module__", "").startswith(PUBLIC):
            continue
        yield public, thing
        if inspect.isclass(thing):
            methods = vars(thing).items()
            yield from ((f"{public}.{n}", m) for n, m in methods if inspect.isfunction(m))


@pytest.mark.parametrize("name", [*PUBLIC, *(f"learning_dynamics.{room}" for room in ROOMS)])
def test_signatures_are_what_the_source_says(name):
    looked = 0
    for public, thing in functions(name):
        try:
            signature = inspect.signature(thing)
        except ValueError:  # of exceptions, which are built in
            continue
        looked += 1
        assert "numpy._typing" not in str(signature), public
        for argument in signature.parameters.values():
            assert len(str(argument.annotation)) <= 100, (public, argument)
    assert looked > 2


def test_help_of_the_levels_is_short():
    import learning_dynamics as ld

    for function in (ld.simulate, ld.integrate, ld.fluctuations, ld.search_law, ld.sweep):
        text = pydoc.plain(pydoc.render_doc(function))
        heading = text.splitlines()[2]
        assert len(heading) < 900, heading
        assert "Args:" in text
        assert "tracker" in text
