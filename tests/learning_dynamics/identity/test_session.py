"""Compiled programs see edits of the same session, and only those."""

import sys
import textwrap
import types
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from learning_dynamics.identity import session
from learning_dynamics.identity.session import forget_with, notice_edits, sees_edits

FORGOTTEN = []
forget_with(lambda: FORGOTTEN.append(1))


@partial(jax.jit, static_argnames="function")
def compiled(function, x):
    return function(x)


@sees_edits("function")
def run(function, x=2.0):
    """A compiled program of a function, as the entry points of the package have."""
    return float(compiled(function, jnp.asarray(x)))


def cell(module, source):
    """Run source in a module, as a cell of a notebook does."""
    exec(compile(textwrap.dedent(source), "<cell>", "exec"), vars(module))


@pytest.fixture
def notebook(monkeypatch):
    module = types.ModuleType("own_notebook")
    monkeypatch.setitem(sys.modules, "own_notebook", module)
    return module


# first cell, second cell, value at 2.0 before and after
EDITS = {
    "global": ("c = 1.0\ndef f(x): return c * x", "c = 3.0", 2, 6),
    "helper": ("def h(x): return x\ndef f(x): return h(x)", "def h(x): return 3 * x", 2, 6),
    "helper of a helper": (
        "def g(x): return x\ndef h(x): return g(x)\ndef f(x): return h(x)",
        "def g(x): return 3 * x", 2, 6,
    ),
    "list": ("C = [1.0]\ndef f(x): return C[0] * x", "C[0] = 3.0", 2, 6),
    "table of tables": (
        "C = {'a': {'b': 1.0}}\ndef f(x): return C['a']['b'] * x", "C['a']['b'] = 3.0", 2, 6,
    ),
    "array": (
        "import numpy as np\nC = np.ones(2)\ndef f(x): return float(C[0]) * x", "C[0] = 3.0", 2, 6,
    ),
    "module attribute": (
        "import types\nm = types.SimpleNamespace(c=1.0)\ndef f(x): return m.c * x",
        "m.c = 3.0", 2, 6,
    ),
    "method": (
        "class A:\n def run(self, x): return x\na = A()\ndef f(x): return a.run(x)",
        "A.run = lambda self, x: 3 * x", 2, 6,
    ),
    "class made anew": (
        "class A:\n def run(self, x): return x\ndef f(x): return A().run(x)",
        "class A:\n def run(self, x): return 3 * x", 2, 6,
    ),
    "class attribute": (
        "class A:\n c = 1.0\ndef f(x): return A.c * x", "A.c = 3.0", 2, 6,
    ),
    "attribute of a bound method's object": (
        "class A:\n c = 1.0\n def run(self, x): return self.c * x\nf = A().run",
        "f.__self__.c = 3.0", 2, 6,
    ),
    "closure": (
        "def make():\n c = [1.0]\n def f(x): return c[0] * x\n return f, c\nf, c = make()",
        "c[0] = 3.0", 2, 6,
    ),
    "default": (
        "def f(x, c=1.0): return c * x", "f.__defaults__ = (3.0,)", 2, 6,
    ),
    "code replaced in place, as by autoreload": (
        "def f(x): return x", "f.__code__ = (lambda x: 3 * x).__code__", 2, 6,
    ),
    "helper compiled by the user": (
        "import jax\nc = 1.0\n@jax.jit\ndef h(x): return c * x\ndef f(x): return h(x)",
        "c = 3.0", 2, 6,
    ),
    "helper compiled by the user, in a new function": (
        "import jax\nc = 1.0\n@jax.jit\ndef h(x): return c * x\ndef f(x): return h(x)",
        "c = 3.0\ndef f(x): return h(x) + 0.0", 2, 6,
    ),
    "class made anew, in a helper compiled by the user": (
        "import jax\nclass A:\n def run(self, x): return x\n@jax.jit\ndef h(x): return A().run(x)\n"
        "def f(x): return h(x)",
        "class A:\n def run(self, x): return 3 * x\ndef f(x): return h(x) + 0.0", 2, 6,
    ),
    "body of scan": (
        "import jax\nc = 1.0\ndef body(s, _): return s + c, None\n"
        "def f(x): return jax.lax.scan(body, x, None, length=2)[0]",
        "c = 3.0", 4, 8,
    ),
    "rule of custom_vjp": (
        "import jax\nc = 1.0\n@jax.custom_vjp\ndef h(x): return x\n"
        "h.defvjp(lambda x: (x, None), lambda r, g: (c * g,))\ndef f(x): return jax.grad(h)(x)",
        "c = 3.0", 1, 3,
    ),
    "import inside": (
        "def f(x):\n import own_other\n return own_other.c * x", "own_other.c = 3.0", 2, 6,
    ),
    "partial": (
        "from functools import partial\nC = [1.0]\ndef g(c, x): return c[0] * x\nf = partial(g, C)",
        "C[0] = 3.0", 2, 6,
    ),
    "decorated": (
        "import functools\nc = 1.0\ndef times(f):\n @functools.wraps(f)\n"
        " def g(x): return c * f(x)\n return g\n@times\ndef f(x): return x",
        "c = 3.0", 2, 6,
    ),
    "global hidden by a local variable that an inner function assigns": (
        "c = 1.0\ndef h(x):\n c = 0.0\n def g():\n  nonlocal c\n  c = c + x\n g()\n return c\n"
        "def f(x): return c * h(x)",
        "c = 3.0", 2, 6,
    ),
    "list hidden by a local one that an inner function fills": (
        "C = [1.0]\ndef h(x):\n C = []\n def g(): C.append(x)\n g()\n return C[0]\n"
        "def f(x): return C[0] * h(x)",
        "C[0] = 3.0", 2, 6,
    ),
    "table hidden by a local one that an inner function fills": (
        "C = {'a': 1.0}\ndef h(x):\n C = {}\n def g(): C['a'] = x\n g()\n return C['a']\n"
        "def f(x): return C['a'] * h(x)",
        "C['a'] = 3.0", 2, 6,
    ),
    "table hidden by one of a class body": (
        "C = {'a': 1.0}\ndef h(x):\n class A:\n  C = {}\n  C['a'] = 1\n return x\n"
        "def f(x): return C['a'] * h(x)",
        "C['a'] = 3.0", 2, 6,
    ),
    "global of the name of state in a closure": (
        "c = [1.0]\ndef make():\n c = []\n def h(x):\n  c.append(1)\n  return x\n return h\n"
        "h = make()\ndef f(x): return c[0] * h(x)",
        "c[0] = 3.0", 2, 6,
    ),
    "table beside an assignment in an argument": (
        "C = {'a': 1.0}\ndef h(t, x): return t['a'] * x\ndef f(x): return h(C, (y := x))",
        "C['a'] = 3.0", 2, 6,
    ),
    "table beside a choice in an argument": (
        "C = {'a': 1.0}\ndef h(t, x): return t['a'] * x\ndef f(x, y=None): return h(C, y or 1) * x",
        "C['a'] = 3.0", 2, 6,
    ),
    "table put into a local one": (
        "C = {'a': 1.0}\ndef f(x):\n t, k = {}, 1\n t[k] = C\n return t[k]['a'] * x",
        "C['a'] = 3.0", 2, 6,
    ),
    "table with attributes": (
        "class A(dict):\n __getattr__ = dict.__getitem__\nC = A(a=1.0)\ndef f(x): return C.a * x",
        "C['a'] = 3.0", 2, 6,
    ),
    "object that raises for an unknown attribute": (
        "class A:\n def __init__(self): self.d = {'a': 1.0}\n"
        " def __getattr__(self, n): return vars(self)['d'][n]\nC = A()\ndef f(x): return C.a * x",
        "C.d['a'] = 3.0", 2, 6,
    ),
    "slot that raises until it is filled": (
        "class A:\n __slots__ = ('a', 'b')\n def __getattr__(self, n): raise RuntimeError(n)\n"
        "C = A()\nC.a = 1.0\ndef f(x): return C.a * x",
        "C.a = 3.0", 2, 6,
    ),
    "slot emptied and filled again": (
        "class A:\n __slots__ = ('a', 'b')\nC = A()\nC.a, C.b = 1.0, 2\ndef f(x): return C.a * x",
        "del C.b\nC.a = 3.0", 2, 6,
    ),
    "attribute that a module makes up": (
        "import types\nm = types.ModuleType('own_made')\nm.d = {'a': 1.0}\n"
        "m.__getattr__ = lambda n: m.d[n]\ndef f(x): return m.a * x",
        "m.d['a'] = 3.0", 2, 6,
    ),
    "value of a thread": (
        "import threading\nC = threading.local()\nC.a = 1.0\ndef f(x): return C.a * x",
        "C.a = 3.0", 2, 6,
    ),
    "value of a context": (
        "import contextvars\nC = contextvars.ContextVar('C')\nC.set(1.0)\n"
        "def f(x): return C.get() * x",
        "C.set(3.0)", 2, 6,
    ),
    "weak reference": (
        "import weakref\nclass A: pass\na = A()\na.c = 1.0\nC = weakref.ref(a)\n"
        "def f(x): return C().c * x",
        "a.c = 3.0", 2, 6,
    ),
    "weak reference to something else": (
        "import weakref\nclass A: c = 1.0\nclass B: c = 3.0\na, b = A(), B()\n"
        "C = weakref.ref(a)\ndef f(x): return C().c * x",
        "C = weakref.ref(b)", 2, 6,
    ),
    "descriptor with weak keys": (
        "import weakref\nclass D:\n def __init__(self): self.d = weakref.WeakKeyDictionary()\n"
        " def __get__(self, o, t=None): return self.d.get(o, 1.0)\n"
        " def __set__(self, o, v): self.d[o] = v\nclass A: c = D()\na = A()\n"
        "def f(x): return a.c * x",
        "a.c = 3.0", 2, 6,
    ),
    "table with weak values": (
        "import weakref\nclass A: pass\na = A()\na.c = 1.0\n"
        "C = weakref.WeakValueDictionary(k=a)\ndef f(x): return C['k'].c * x",
        "b = A()\nb.c = 3.0\nC['k'] = b", 2, 6,
    ),
    "set with weak items": (
        "import weakref\nclass A: c = 1.0\na = A()\nC = weakref.WeakSet([a])\n"
        "def f(x): return sum(i.c for i in C) * x",
        "b = A()\nb.c = 2.0\nC.add(b)", 2, 6,
    ),
    "function that keeps its values": (
        "import functools\nc = 1.0\n@functools.lru_cache\ndef h(): return c\n"
        "def f(x): return h() * x",
        "c = 3.0", 2, 6,
    ),
    "function that keeps its values by object": (
        "import functools\nclass A: c = 1.0\na = A()\n@functools.cache\ndef h(a): return a.c\n"
        "def f(x): return h(a) * x",
        "a.c = 3.0", 2, 6,
    ),
    "method that keeps its values": (
        "import functools\nclass A:\n c = 1.0\n @functools.cache\n def h(self): return self.c\n"
        "a = A()\ndef f(x): return a.h() * x",
        "a.c = 3.0", 2, 6,
    ),
    "function that kept a value before it was met": (
        "import functools\nc = 2.0\n@functools.cache\ndef h(): return c\nh()\nc = 1.0\n"
        "def f(x): return h() * x",
        "c = 3.0", 2, 6,
    ),
    "cached property": (
        "import functools\nclass A:\n k = 1.0\n @functools.cached_property\n"
        " def c(self): return self.k\na = A()\ndef f(x): return a.c * x",
        "a.k = 3.0", 2, 6,
    ),
    "cached property of a global": (
        "import functools\nk = 1.0\nclass A:\n @functools.cached_property\n"
        " def c(self): return k\na = A()\na.c\ndef f(x): return a.c * x",
        "k = 3.0", 2, 6,
    ),
    "item of a table with a default": (
        "import collections\nC = collections.defaultdict(float, a=1.0)\n"
        "def f(x): return (C['a'] + C['b']) * x",
        "C['a'] = 3.0", 2, 6,
    ),
    "default of a table": (
        "import collections\nC = collections.defaultdict(lambda: 1.0)\ndef f(x): return C['a'] * x",
        "C.default_factory = lambda: 3.0\nC.clear()", 2, 6,
    ),
    "item instead of the default": (
        "import collections\nC = collections.defaultdict(lambda: 1.0)\ndef f(x): return C['a'] * x",
        "C['a'] = 3.0", 2, 6,
    ),
    "array that was read-only": (
        "import numpy as np\nC = np.ones(2)\nC.setflags(write=False)\n"
        "def f(x): return float(C[0]) * x",
        "C.setflags(write=True)\nC[0] = 3.0\nC.setflags(write=False)", 2, 6,
    ),
    "name that was builtin": (
        "def f(x): return x * len([1])", "def len(_): return 3", 2, 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_is_seen_by_compiled_programs(notebook, monkeypatch, kind):
    first, second, before, after = EDITS[kind]
    other = types.ModuleType("own_other")
    other.c = 1.0
    monkeypatch.setitem(sys.modules, "own_other", other)
    notebook.own_other = other
    cell(notebook, first)
    assert run(notebook.f) == before
    assert run(notebook.f) == before
    cell(notebook, second)
    assert run(notebook.f) == after
    FORGOTTEN.clear()
    assert run(notebook.f) == after
    assert not FORGOTTEN


# cells after which nothing that was compiled is out of date
HARMLESS = {
    "list that is filled but not read": "LOG = []\ndef f(x):\n LOG.append(1)\n return x",
    "list of an enclosing function": (
        "def make():\n log = []\n def f(x):\n  log.append(1)\n  return x\n return f\nf = make()"
    ),
    "variable that an inner function assigns": (
        "def make():\n n = [0]\n m = 0\n def f(x):\n  def g():\n   nonlocal m\n   m += 1\n"
        "   n[0] += 1\n  g()\n  return x\n return f\nf = make()"
    ),
    "table whose items are added to": ("n = {'a': 0}\ndef f(x):\n n['a'] += 1\n return x"),
    "counter": "n = 0\ndef f(x):\n global n\n n += 1\n return x",
    "table filled as it goes": (
        "_known = {}\ndef f(x):\n if 1 not in _known: _known[1] = 1.0\n return _known[1] * x"
    ),
    "table with weak keys, filled as it goes": (
        "import weakref\nclass A: pass\na = A()\n_known = weakref.WeakKeyDictionary()\n"
        "def f(x):\n if a not in _known: _known[a] = 1.0\n return _known[a] * x"
    ),
    "table with a default": (
        "import collections\nC = collections.defaultdict(lambda: 1.0)\n"
        "D = collections.defaultdict(list)\n"
        "def f(x): return C[len(C)] * x + len(D[len(C)])"
    ),
    "cached property": (
        "import functools\nclass A:\n @functools.cached_property\n def c(self): return 1.0\n"
        "a = A()\ndef f(x): return a.c * x"
    ),
    "random numbers that are not used": "import numpy as np\nR = np.arange(3)\ndef f(x): return x",
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_nothing_is_forgotten_where_nothing_changed(notebook, kind):
    cell(notebook, HARMLESS[kind])
    run(notebook.f)
    FORGOTTEN.clear()
    for x in (1.0, 2.0, 3.0):
        assert run(notebook.f, x) == x
    cell(notebook, "unrelated = 5\ndef another(x): return x")
    assert run(notebook.f, 4.0) == 4.0
    assert not FORGOTTEN


def test_what_cannot_be_looked_at_forgets_all_and_does_not_stop_a_call(notebook, monkeypatch):
    cell(notebook, "c = 1.0\ndef f(x): return c * x")
    assert run(notebook.f) == 2

    def raises(*_):
        raise RuntimeError

    monkeypatch.setattr(session, "Footprint", raises)
    cell(notebook, "c = 3.0")
    assert run(notebook.f) == 6


def test_what_a_function_keeps_is_worked_out_once_while_nothing_changes(notebook):
    cell(
        notebook,
        "import functools\nCALLS = []\nclass A:\n @functools.cached_property\n"
        " def c(self):\n  CALLS.append(1)\n  return 1.0\na = A()\n"
        "@functools.cache\ndef h():\n CALLS.append(2)\n return 1.0\n"
        "def make(): return lambda x: a.c * h() * x",
    )
    for x in (2.0, 3.0, 4.0):
        assert run(notebook.make(), x) == x
    assert notebook.CALLS == [1, 2]


def test_new_functions_and_other_classes_are_no_edits(notebook):
    cell(
        notebook,
        "def make(c):\n class A:\n  def run(self, x): return c * x\n return A().run\n"
        "def other(c): return lambda x: c * x",
    )
    FORGOTTEN.clear()
    for _ in range(2):
        assert [run(notebook.make(c)) for c in (1.0, 2.0)] == [2.0, 4.0]
        assert [run(notebook.other(c)) for c in (1.0, 2.0)] == [2.0, 4.0]
    assert not FORGOTTEN


def test_numbers_of_a_pytree_are_no_code():
    FORGOTTEN.clear()
    for value in (1.0, 2.0):
        notice_edits({"a": value, "b": jnp.ones(2) * value})
    assert not FORGOTTEN


def test_static_parts_and_methods_of_a_pytree_are_code(notebook):
    cell(
        notebook,
        "import jax\n@jax.tree_util.register_pytree_node_class\nclass A:\n"
        " def __init__(self, x, f):\n  self.x, self.f = float(x), f\n"
        " def run(self): return self.f(self.x)\n"
        " def tree_flatten(self): return (self.x,), self.f\n"
        " @classmethod\n def tree_unflatten(cls, f, x):\n"
        "  a = object.__new__(cls)\n  a.x, a.f = x[0], f\n  return a\n"
        "c = 1.0\ndef f(x): return c * x\na = A(2.0, f)\n",
    )

    @jax.jit
    def compiled(a):
        return a.run()

    @sees_edits("a")
    def run(a):
        return float(compiled(a))

    assert run(notebook.a) == 2
    cell(notebook, "c = 3.0")
    assert run(notebook.a) == 6
    cell(notebook, "A.run = lambda self: 1 + self.f(self.x)")
    assert run(notebook.a) == 7
    FORGOTTEN.clear()
    assert run(notebook.A(5.0, notebook.f)) == 16
    assert not FORGOTTEN
