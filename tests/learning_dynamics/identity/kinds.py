"""Kinds of edits behind a measure: two versions of some small modules, `«one¦other»`.

Run as a program it prints the keys of both versions of every kind.
"""

import importlib
import json
import re
import sys
import tempfile
import textwrap
from pathlib import Path

from learning_dynamics.identity import code_of

KINDS = {
    "module imported inside the measure": """
        def measure(x):
            import own_helper
            return own_helper.h(x)
        # own_helper.py
        def h(x): return x * «1¦2»
    """,
    "module imported inside a helper": """
        def f(x):
            from own_helper import h as g
            return g(x)
        def measure(x): return f(x)
        # own_helper.py
        def h(x): return x * «1¦2»
    """,
    "module reached through another": """
        import own_helper
        def measure(x): return own_helper.own_tools.h(x)
        # own_helper.py
        import own_tools
        # own_tools.py
        def h(x): return x * «1¦2»
    """,
    "body of a decorator": """
        import functools
        def twice(f):
            @functools.wraps(f)
            def g(x): return «2¦3» * f(x)
            return g
        @twice
        def measure(x): return x
    """,
    "argument of a decorator": """
        import functools
        def times(c):
            def make(f):
                @functools.wraps(f)
                def g(x): return c * f(x)
                return g
            return make
        @times(«2¦3»)
        def measure(x): return x
    """,
    "decorator removed": """
        import functools
        def twice(f):
            @functools.wraps(f)
            def g(x): return 2 * f(x)
            return g
        «@twice¦»
        def h(x): return x
        def measure(x): return h(x)
    """,
    "singledispatch": """
        import functools
        @functools.singledispatch
        def h(x): return x
        @h.register
        def _(x: int): return x * «1¦2»
        def measure(x): return h(x)
    """,
    "rule of custom_vjp": """
        import jax
        @jax.custom_vjp
        def h(x): return x
        def forward(x): return x, None
        def backward(rest, g): return («1¦2» * g,)
        h.defvjp(forward, backward)
        def measure(x): return jax.grad(h)(x)
    """,
    "rule of custom_jvp": """
        import jax
        @jax.custom_jvp
        def h(x): return x
        @h.defjvp
        def rule(p, t): return p[0], «1.0¦2.0» * t[0]
        def measure(x): return jax.grad(h)(x)
    """,
    "function in a table": """
        def one(x): return x * «1¦2»
        TABLE = {"a": [one]}
        def measure(x): return TABLE["a"][0](x)
    """,
    "function in a tuple of another module": """
        from own_helper import ALL
        def measure(x): return ALL[0](x)
        # own_helper.py
        def one(x): return x * «1¦2»
        ALL = (one,)
    """,
    "function as a default": """
        def one(x): return x * «1¦2»
        def h(x, f=one): return f(x)
        def measure(x): return h(x)
    """,
    "function in a global dataclass": """
        import dataclasses
        @dataclasses.dataclass
        class Box: f: object
        BOX = Box(«lambda x: x¦lambda x: 2 * x»)
        def measure(x): return BOX.f(x)
    """,
    "function given to a closure by another module": """
        from own_helper import made
        def measure(x): return made(x)
        # own_helper.py
        def make(c): return lambda x: c * x
        made = make(«1¦2»)
    """,
    "loss of a module-level Problem": """
        import learning_dynamics as ld
        from own_helper import problem
        def measure(x): return problem
        # own_helper.py
        import jax.numpy as jnp
        import learning_dynamics as ld
        from diffusion_theory import MixedCumulant
        @ld.configuration
        class Mine(ld.Learner):
            @property
            def neurons(self): return 1
            def loss(self, fields, norms, parameters, sample): return «1¦2» * jnp.sum(fields**2)
        problem = ld.Problem(MixedCumulant(covariance=9.0), Mine(), 0.1)
    """,
    "value of an Enum": """
        import enum
        class Rate(enum.Enum):
            SLOW = «1¦2»
        def measure(x): return Rate.SLOW.value * x
    """,
    "method of an Enum": """
        import enum
        class Rate(enum.Enum):
            SLOW = 1
            def of(self, x): return «x¦2 * x»
        def measure(x): return Rate.SLOW.of(x)
    """,
    "class made by a factory": """
        def make(c):
            class Made:
                rate = c
                def run(self, x): return self.rate * x
            return Made
        Made = make(«1¦2»)
        def measure(x): return Made().run(x)
    """,
    "activation": """
        import jax.numpy as jnp
        ACT = jnp.«tanh¦sin»
        def measure(x): return ACT(x)
    """,
    "activation by import": """
        from jax.nn import «relu¦gelu» as act
        def measure(x): return act(x)
    """,
    "library": """
        «import numpy as xp¦import jax.numpy as xp»
        def measure(x): return xp.sum(x)
    """,
    "type": """
        import numpy as np
        KIND = np.«float32¦float64»
        def measure(x): return KIND(x)
    """,
    "partial of a ufunc": """
        import functools
        import numpy as np
        F = functools.partial(np.«add¦multiply», 3)
        def measure(x): return F(x)
    """,
    "second derivative": """
        import jax
        def f(x): return x**3
        F = «jax.grad(f)¦jax.grad(jax.grad(f))»
        def measure(x): return F(x)
    """,
    "argnums": """
        import jax
        def f(x, y): return x**3 * y
        F = jax.grad(f, argnums=«0¦1»)
        def measure(x): return F(x, 2.0)
    """,
    "in_axes": """
        import jax
        def f(x, y): return x * y
        F = jax.vmap(f, in_axes=(0, «0¦None»))
        def measure(x): return F(x, x)
    """,
    "object of a bound method": """
        class Model:
            def __init__(self, c): self.c = c
            def run(self, x): return self.c * x
        measure = Model(«2¦3»).run
    """,
    "poly1d": """
        import numpy as np
        P = np.poly1d([1.0, «2.0¦3.0»])
        def measure(x): return P(x)
    """,
    "spline": """
        from scipy.interpolate import CubicSpline
        P = CubicSpline([0.0, 1.0, 2.0], [1.0, «2.0¦3.0», 4.0])
        def measure(x): return P(x)
    """,
    "B-spline": """
        from scipy.interpolate import make_interp_spline
        P = make_interp_spline([0.0, 1.0, 2.0, 3.0], [1.0, «2.0¦3.0», 4.0, 1.0])
        def measure(x): return P(x)
    """,
    "vectorize": """
        import numpy as np
        def f(x): return x
        P = np.vectorize(f, otypes=«[float]¦[int]»)
        def measure(x): return P(x)
    """,
    "itemgetter": """
        import operator
        G = operator.itemgetter(«0¦1»)
        def measure(x): return G(x)
    """,
    "frozen distribution": """
        from scipy.stats import norm
        LAW = norm(«0.0¦1.0»)
        def measure(x): return LAW.cdf(x)
    """,
    "global that a method reads": """
        RATE = «1.0¦2.0»
        class Model:
            def run(self, x): return RATE * x
        def measure(x): return Model().run(x)
    """,
    "attribute looked up by text": """
        import own_helper
        def measure(x): return getattr(own_helper, "ra" + "te") * x
        # own_helper.py
        rate = «1.0¦2.0»
    """,
    "module found by text": """
        import importlib
        import own_helper
        def measure(x): return importlib.import_module("own_" + "tools").h(x)
        # own_helper.py
        import own_tools
        # own_tools.py
        def h(x): return «x¦2 * x»
    """,
    "subclass found by its base": """
        import own_helper
        def measure(x): return own_helper.Base.__subclasses__()[0]().run(x)
        # own_helper.py
        class Base: pass
        class Mine(Base):
            def run(self, x): return «x¦2 * x»
    """,
    "order of a table": """
        TABLE = {«"a": 1, "b": 2¦"b": 2, "a": 1»}
        def measure(x): return list(TABLE.values())[0] * x
    """,
    "base class": """
        class A:
            def run(self, x): return x
        class B:
            def run(self, x): return 2 * x
        class C(«A¦B»): pass
        def measure(x): return C().run(x)
    """,
    "property and cached property": """
        import functools
        class A:
            @property
            def one(self): return 1
            @functools.cached_property
            def two(self): return «2¦3»
        def measure(x): return A().two * x
    """,
    "table whose name begins with an underscore": """
        _TABLE = {"a": «1¦2»}
        def measure(x): return _TABLE["a"] * x
    """,
    "object of a weak reference": """
        import weakref
        class A: pass
        a = A()
        a.c = «1¦2»
        R = weakref.ref(a)
        def measure(x): return R().c * x
    """,
    "descriptor with weak keys": """
        import weakref
        class D:
            def __init__(self): self.d = weakref.WeakKeyDictionary()
            def __get__(self, o, t=None): return self.d.get(o, 1)
            def __set__(self, o, v): self.d[o] = v
        class A: c = D()
        a = A()
        for _ in range(«1¦2»):
            a.c = a.c + 1
        def measure(x): return a.c * x
    """,
    "global of the name of a local variable that an inner function assigns": """
        c = «1¦2»
        def h(x):
            c = 0
            def g():
                nonlocal c
                c += x
            g()
            return c
        def measure(x): return c * h(x)
    """,
    "table beside an assignment in an argument": """
        C = {"a": «1¦2»}
        def h(t, x): return t["a"] * x
        def measure(x): return h(C, (y := x))
    """,
    "table with attributes": """
        class A(dict):
            __getattr__ = dict.__getitem__
        C = A(a=«1¦2»)
        def measure(x): return C.a * x
    """,
    "optimiser": """
        import optax
        OPT = optax.sgd(«0.1¦0.2»)
        def measure(x): return OPT
    """,
    "try moved": """
        def measure(x):
            «y = 1 / x¦pass»
            try:
                «pass¦y = 1 / x»
            except ZeroDivisionError:
                y = 0.0
            return y
    """,
}

SAME = {
    "comment, docstring, empty lines": """
        «¦"A module."»
        import own_helper
        «¦# a remark»
        class A:
            «"First."¦"Second."»
            def run(self, x):
                «¦"What it does."»
                try:
                    return x + 1.5
                except ValueError:
                    return 2.5
        def measure(x): return A().run(own_helper.h(x))
        # own_helper.py
        def h(x):
            «¦'''Help.

            More of it.
            '''»
            return (x,   3)[0]
    """,
    "grid of a file for the command line": """
        over = {"n": «[1, 2]¦[1, 2, 3]»}
        attempts = «2¦3»
        def measure(n): return n
        if __name__ == "__main__":
            print(«1¦2»)
    """,
}


def versions(text):
    """Files of both versions of a kind."""
    for side in (0, 1):
        chosen = re.sub(r"«(.*?)¦(.*?)»", (r"\1", r"\2")[side], text, flags=re.S)
        parts = re.split(r"^ *# (own_\w+\.py)$", chosen, flags=re.M)
        names = ["own_measure.py", *parts[1::2]]
        yield {n: textwrap.dedent(source) for n, source in zip(names, parts[::2], strict=True)}


def load(files, folder):
    """Write files, forget modules of earlier ones and import the measure."""
    folder.mkdir()
    for name, source in files.items():
        (folder / name).write_text(source)
    for name in [n for n in sys.modules if n.startswith("own_")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("own_measure")
        return code_of(module.measure)
    finally:
        sys.path.remove(str(folder))


def keys(kinds):
    """Codes of both versions of every kind."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, text) in enumerate(kinds.items()):
            found[name] = [
                load(files, Path(folder) / f"{i}-{side}")
                for side, files in enumerate(versions(text))
            ]
    return found


if __name__ == "__main__":
    table = {n: [c.digest for c in codes] for n, codes in keys(KINDS | SAME).items()}
    print(json.dumps(table))
