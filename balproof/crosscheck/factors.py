"""What slices of weights are multiplied by, each with a known number of roundings.

The scale of a unit is a positive double λ, mantissa and exponent kept apart: exactly that number, so that
λ and λ² cost at most one rounding and 1/λ and 1/λ² at most two. Any other product of powers is enclosed by
ball arithmetic and rounded, at most twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import arb, ctx, fmpq

from balproof.network.forms import Form, Forms

Array = np.ndarray

_LARGE = 500.0
"""Up to this size exp(h) is a normal double, as are its square and their inverses."""


@dataclass(frozen=True, eq=False)
class Scale:
    """λ_k = mantissa_k·2^exponent_k, close to exp(h_k)."""

    mantissa: Array
    exponent: Array

    @staticmethod
    def of(h: Array) -> Scale:
        """Those close to exp(h).

        >>> scale = Scale.of(np.array([0.0, 1000.0]))
        >>> scale.exponent.tolist()
        [1, 1443]
        """
        shift = np.where(np.abs(h) > _LARGE, np.rint(h / np.log(2.0)), 0.0)
        mantissa, exponent = np.frexp(np.exp(h - shift * np.log(2.0)))
        return Scale(mantissa, exponent + shift.astype(np.int64))

    def split(self, forms: Forms) -> tuple[Array, Array]:
        """m and e with ∏ λ_k^c_k = m·2^e for each form, up to two roundings of m, which is about 1.

        >>> m, e = Scale.of(np.log([3.0])).split(Forms.of([(), ((0, Fraction(1)),), ((0, Fraction(-1, 2)),)]))
        >>> np.ldexp(m, e).round(12).tolist()
        [1.0, 3.0, 0.57735026919]
        """
        mantissa, exponent = np.ones(len(forms)), np.zeros(len(forms), dtype=np.int64)
        for code, c in enumerate(forms.ratios):
            here = np.flatnonzero((forms.scale >= 0) & (forms.ratio == code))
            if abs(c) in (1, 2):
                k = forms.scale[here]
                own = self.mantissa[k] if abs(c) == 1 else self.mantissa[k] * self.mantissa[k]
                mantissa[here] = own if c > 0 else 1.0 / own
                exponent[here] = int(c) * self.exponent[k]
            else:
                for i in here.tolist():
                    mantissa[i], exponent[i] = self._product(((int(forms.scale[i]), c),))
        for i, form in forms.others.items():
            mantissa[i], exponent[i] = self._product(form)
        return mantissa, exponent

    def factors(self, forms: Forms) -> Array:
        """m·2^e, which is exactly that where it is a normal double."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(*self.split(forms))

    def _product(self, form: Form) -> tuple[float, int]:
        if all(self.mantissa[k] == 1 for k, _ in form):  # powers of two: exactly, where the exponent is whole
            power = sum((c * int(self.exponent[k]) for k, c in form), Fraction(0))
            if power.denominator == 1:
                return 1.0, int(power)
        with ctx.workprec(192):
            logs = [
                arb(fmpq(c.numerator, c.denominator))
                * (arb(float(self.mantissa[k])).log() + int(self.exponent[k]) * arb.const_log2())
                for k, c in form
            ]
            total = sum(logs, arb(0))
            e = round(float(total.mid()) / np.log(2.0))
            return float((total - e * arb.const_log2()).exp().mid()), e
