"""Forms in arrays are the forms that they stand for: each operation done to the tuples themselves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from balproof.network.forms import Form, Forms

COUNT = 5
coefficients = st.sampled_from([Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-3)])
forms = st.lists(
    st.dictionaries(st.integers(0, COUNT - 1), coefficients, max_size=3).map(
        lambda terms: tuple(sorted(terms.items()))
    ),
    min_size=1,
    max_size=6,
)


@given(forms, st.data())
def test_operations(plain: list[Form], data: st.DataObject) -> None:
    made = Forms.of(plain)
    assert list(made) == plain == [made[i] for i in range(len(plain))] and made == tuple(plain)
    assert made[1:] == tuple(plain[1:])
    assert made.zero == (not any(plain))
    assert made.scales.tolist() == sorted({k for form in plain for k, _ in form})
    index = np.array(data.draw(st.lists(st.integers(0, len(plain) - 1), min_size=1, max_size=8)))
    assert list(made.at(index)) == [plain[i] for i in index]
    factor = data.draw(coefficients)
    assert list(made.times(factor)) == [tuple((k, c * factor) for k, c in form) for form in plain]
    assert list(made.absolute()) == [tuple((k, abs(c)) for k, c in form) for form in plain]
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=COUNT, max_size=COUNT)))
    new = np.where(kept, np.cumsum(kept) - 1, -1)
    assert list(made.renamed(new)) == [
        tuple((int(new[k]), c) for k, c in form if new[k] >= 0) for form in plain
    ]
    dense = np.array([[float(dict(form).get(k, 0)) for k in range(COUNT)] for form in plain])
    np.testing.assert_array_equal(made.matrix(COUNT).toarray(), dense)


@given(forms, st.data())
def test_places_are_replaced(plain: list[Form], data: st.DataObject) -> None:
    others = data.draw(st.dictionaries(st.integers(0, len(plain) - 1), forms.map(lambda f: f[0]), max_size=3))
    assert list(Forms.of(plain).replaced(others)) == [others.get(i, form) for i, form in enumerate(plain)]


def test_free_variables() -> None:
    assert Forms.free(4, np.array([1, 3])) == ((), ((0, Fraction(1)),), (), ((1, Fraction(1)),))
    assert Forms.free(3, np.array([0])).look_up(np.array([7.0])).tolist() == [7.0, 0.0, 0.0]
    assert Forms.free(2, np.zeros(0, int)).look_up(np.zeros(0)).tolist() == [0.0, 0.0]
