"""Text and numbers for the page: escaped HTML, simple mathematics between dollar signs, errors."""

import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["duration", "explained", "number", "plain_or_math", "shown", "slug", "with_error"]

_GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "chi",
    "psi",
    "omega",
]
_LETTERS = "αβγδεζηθικλμνξπρστυφχψω"
_SYMBOLS = dict(zip(_GREEK, _LETTERS, strict=True)) | {
    "Gamma": "Γ",
    "Delta": "Δ",
    "Theta": "Θ",
    "Lambda": "Λ",
    "Sigma": "Σ",
    "Phi": "Φ",
    "Psi": "Ψ",
    "Omega": "Ω",
    "varepsilon": "ε",
    "varphi": "φ",
    "ell": "ℓ",
    "infty": "∞",
    "to": "→",
    "rightarrow": "→",
    "propto": "∝",
    "approx": "≈",
    "sim": "~",
    "le": "≤",
    "leq": "≤",
    "ge": "≥",
    "geq": "≥",
    "ll": "≪",
    "gg": "≫",
    "times": " × ",
    "cdot": "·",
    "pm": "±",
    "|": "‖",
    "Vert": "‖",
    "partial": "∂",
    "nabla": "∇",
    "langle": "⟨",
    "rangle": "⟩",
    "log": "log ",
    "exp": "exp",
    "min": "min",
    "max": "max",
    "mathrm": "",
    "mathbf": "",
    "mathit": "",
    "mathcal": "",
    "text": "",
    "left": "",
    "right": "",
    ",": " ",
    ";": " ",
    " ": " ",
    "%": "%",
}
_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307"}


def plain_or_math(text: str) -> str:
    """Escaped HTML of `text`; what stands between dollar signs becomes simple mathematics."""
    pieces = re.split(r"(?<!\\)\$", text)
    if len(pieces) % 2 == 0:  # a dollar sign without partner is a dollar sign
        return escape(text)
    return "".join(_math(p) if i % 2 else escape(p) for i, p in enumerate(pieces))


def _math(source: str) -> str:
    text = escape(source)
    for command, accent in _ACCENTS.items():
        text = re.sub(
            rf"\\{command}\s*(?:\{{(\\?[A-Za-z]+)\}}|(\\[A-Za-z]+|[A-Za-z]))",
            rf"\g<1>\g<2>{accent}",
            text,
        )
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"√(\1)", text)
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text)
    text = re.sub(r"\\([A-Za-z]+|[|,; %])\s?", lambda m: _SYMBOLS.get(m[1], m[0]), text)
    for sign, tag in (("^", "sup"), ("_", "sub")):
        text = re.sub(rf"\{sign}(?:\{{([^{{}}]*)\}}|([^\s{{}}\\]))", rf"<{tag}>\1\2</{tag}>", text)
    text = re.sub(r"\s*(=|→|∝|≈|~|≤|≥|≪|≫)\s*", r" \1 ", re.sub(r"[{}]", "", text)).strip()
    # what is not understood is shown as it was written
    if "\\" in text:
        return f"<code>{escape(source)}</code>"
    return f'<span class="math">{text.replace("-", "−")}</span>'


def slug(text: str) -> str:
    """A file name: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "unnamed"


def number(value: Any, digits: int = 4) -> str:
    """A number with `digits` significant digits; text and missing values as they are."""
    if value is None:
        return "not a number"
    if not isinstance(value, int | float):
        return str(value).replace("Infinity", "∞").replace("-", "−")
    return _signs(f"{value + 0:.{digits}g}")  # + 0 turns -0.0 into 0


def with_error(value: Any, error: Any) -> str:
    """A measured value with its standard error, both to the error's second digit."""
    usable = all(isinstance(v, int | float) and math.isfinite(v) for v in (value, error))
    if not usable or error <= 0:
        return f"{number(value, 6)} ± {number(error, 2)}"
    largest = max(abs(value), error)
    places = 1 - math.floor(math.log10(error))
    power = math.floor(math.log10(largest))
    if -4 < power < 6:
        return _signs(f"{value:.{max(places, 0)}f} ± {error:.{max(places, 0)}f}")
    scale = 10.0**power
    shown = max(places + power, 0)
    return _signs(f"({value / scale:.{shown}f} ± {error / scale:.{shown}f}) × 10^{power}")


def shown(entry: Mapping[str, Any]) -> str:
    """Value of a number in a record: with its error, as an upper bound, or as it is."""
    if entry["below"] is not None:
        return f"below {number(entry['below'], 2)}"
    if entry["error"] is None:
        return number(entry["value"])
    return with_error(entry["value"], entry["error"])


def explained(entry: Mapping[str, Any]) -> str:
    """What a number in a record means, and what stands behind its ±."""
    with_sign = entry["error"] is not None and entry["below"] is None
    error = f"± {entry['error_is']}" if with_sign else ""
    return "; ".join(text for text in (entry["meaning"], error) if text)


def duration(seconds: float) -> str:
    """Seconds as "0.4 s", "12 s", "3 min 20 s" or "2 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _signs(text: str) -> str:
    """Proper minus signs, and powers of ten in Unicode superscripts."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    text = re.sub(r"e([+-]?\d+)", lambda m: f" × 10^{int(m[1])}", text)
    text = re.sub(r"10\^(-?\d+)", lambda m: "10" + m[1].translate(raised), text)
    return text.replace("-", "−")
