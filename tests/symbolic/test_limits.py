"""The limit on computing time: what it stops, what it puts back, what becomes of the answer."""

import gc
import signal
import threading
import time
from fractions import Fraction

import pytest
import sympy
from flint import ctx

from balproof.errors import ExpressionError
from balproof.symbolic import halfline, limits, parser, positivity, regularizer
from balproof.symbolic.activation import Activation
from balproof.symbolic.convexity import W
from balproof.symbolic.limits import vanishes, within
from balproof.symbolic.refute import find_witness
from balproof.symbolic.regularizer import Regularizer
from balproof.symbolic.scale import optimal_scale
from balproof.verdict import Verdict


def busy(seconds=0.5):
    """Compute for so long, catching what SymPy would catch; an end, so that a broken limit is seen."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        try:
            sympy.Integer(3) + 4
        except Exception:  # noqa: BLE001 SymPy does this
            return "caught"
    return "through"


@pytest.fixture(autouse=True)
def fresh():
    """Nothing remembered from before, nothing left behind."""
    for kept in (regularizer._parse, regularizer._marginal):
        kept.cache_clear()
    yield
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert limits._running == 0
    for kept in (regularizer._parse, regularizer._marginal):
        kept.cache_clear()


def test_stops_at_the_limit_and_not_before():
    start = time.process_time()
    assert within(0.1, busy, "late") == "late"
    assert 0.08 < time.process_time() - start < 0.4
    assert within(5, lambda: busy(0.05), "late") == "through"


def test_errors_pass_through():
    with pytest.raises(ZeroDivisionError):
        within(1, lambda: 1 / 0, 0)


def test_limits_nest():
    found = []

    def outer():
        found.append(within(0.1, busy, "inner late"))
        busy()
        found.append("not reached")

    assert within(0.4, outer, "outer late") == "outer late"
    assert found == ["inner late"]
    # an inner limit that is longer does not lengthen the outer one
    start = time.process_time()
    assert within(0.1, lambda: within(30, busy, "inner") + busy(), "outer") == "outer"
    assert time.process_time() - start < 0.45


def test_handler_and_timer_of_others_are_put_back():
    rung = []
    before = signal.signal(signal.SIGPROF, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_PROF, 0.3)
        assert within(0.1, busy, "late") == "late"
        left, _ = signal.getitimer(signal.ITIMER_PROF)
        assert 0 < left < 0.25
        busy(0.5)
        assert rung == [1]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_the_collector_is_not_interrupted():
    """An exception in one of its callbacks would be lost: seen with the callbacks of a test library."""
    assert within(1, gc.isenabled, None) is False
    assert within(0.1, busy, "late") == "late"
    assert gc.isenabled()
    gc.disable()
    try:
        within(1, lambda: None, None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_other_threads_are_not_limited():
    found = []
    thread = threading.Thread(target=lambda: found.append(within(0.05, lambda: busy(0.3), "late")))
    thread.start()
    thread.join()
    assert found == ["through"]


def test_an_endless_attempt_leaves_the_next_one_its_turn(monkeypatch):
    monkeypatch.setattr(limits, "ATTEMPT", 0.1)
    monkeypatch.setattr(positivity, "ATTEMPT", 0.1)
    monkeypatch.setattr(positivity, "_METHODS", (lambda *_: busy(), *positivity._METHODS))
    found = positivity.positive(16 * W**2 - 9 * W + 4)
    assert found.verdict == Verdict.proved


def test_an_endless_question_is_undecided_with_its_reason(monkeypatch):
    """Never a pass, never a refutation; and the guard is seen failing where nothing is limited."""
    text = "w**2 + 1/(1 + exp(abs(w)))"
    monkeypatch.setattr(regularizer, "QUESTION", 0.1)
    monkeypatch.setattr(regularizer, "positive", lambda *_: busy())
    monkeypatch.setattr(regularizer, "_midpoint", lambda *_: None)
    start = time.process_time()
    g = Regularizer.parse(text)
    assert time.process_time() - start < 0.45
    assert g.log_convex.holds is None
    assert g.log_convex.verdict == Verdict.undecided
    assert "no answer within 0.1 s" in g.log_convex.why
    regularizer._parse.cache_clear()
    monkeypatch.setattr(regularizer, "within", lambda _seconds, work, _otherwise: work())
    start = time.process_time()
    with pytest.raises(AttributeError):  # the endless method came to its end, and its answer is none
        Regularizer.parse(text)
    assert time.process_time() - start > 0.45


def test_endless_rewriting_of_an_activation(monkeypatch):
    monkeypatch.setattr(halfline, "ATTEMPT", 0.1)
    monkeypatch.setattr(sympy, "expand", lambda *_: busy())
    assert Activation.parse("(x+3)**2 - 6*x - 9").degree == 2


def test_endless_reading_is_refused(monkeypatch):
    monkeypatch.setattr(parser, "QUESTION", 0.1)
    monkeypatch.setattr(parser._Builder, "build", lambda *_: busy())
    with pytest.raises(ExpressionError, match="no answer within"):
        Regularizer.parse("abs(w) + w**6")


def test_nothing_is_left_half_done():
    """Interrupted at many moments, SymPy and the ball arithmetic answer afterwards as before."""
    hard = sympy.tanh(W) / W - sympy.log(1 + sympy.exp(W + 1))
    precision = ctx.prec
    for k in range(12):
        within(0.02 + k * 0.013, lambda: sympy.factor(sympy.together(hard.diff(W, 2))), None)
        within(0.02, lambda: find_witness("h", hard, W, {}), None)
    assert ctx.prec == precision
    assert vanishes(sympy.sin(W) ** 2 + sympy.cos(W) ** 2 - 1)
    assert (W**2 + 1).is_positive
    g = Regularizer.parse("log(1+w**2)")
    assert all(c.holds for c in (g.even, g.increasing, g.coercive, g.log_convex))
    assert optimal_scale("relu", g).root([3], [1]).contains(Fraction(0)) is False


@pytest.mark.parametrize(
    "text",
    [
        "tanh(erf(abs(w))/(1+exp(w)))*log(1+cosh(w))/(1+sinh(abs(w))**2)",
        "(abs(w)+1/3)**60*exp(-abs(w))*(abs(w)**(1/7)+abs(w)**(1/5)+1)**9",
        pytest.param(
            "Max(" + ", ".join(f"abs(w)**{k}*{k + 1}-w**2/{k + 2}" for k in range(1, 9)) + ")",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_slow_formulas_are_answered_in_time(text):
    start = time.process_time()
    try:
        g = Regularizer.parse(text)
        optimal_scale("relu", g)
    except ExpressionError as refused:
        assert "no answer within" in str(refused)
    assert time.process_time() - start < 12
