"""Text to SymPy over a whitelist of names; the text is never evaluated as Python.

Three stages: tokens, a tree of our own (limits are checked here, before SymPy computes anything), and
SymPy objects, of which each constant is measured as it is made.  Decimals become exact rationals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import sympy

from balproof.errors import ExpressionError
from balproof.symbolic import ball
from balproof.symbolic.assumptions import Assumption, Domain, domains
from balproof.symbolic.limits import QUESTION, too_long, within

MAX_LENGTH = 2000
MAX_DEPTH = 40
MAX_NODES = 400
MAX_EXPONENT = 1000
MAX_COMPOUND_EXPONENT = 64
MAX_BITS = 4096
MAX_ARGUMENTS = 12

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<op>\*\*|<=|>=|==|!=|[-+*/^(),<>]))"
)
_SPACE = re.compile(r"\s*")
_HINTS = {
    ".": "write functions by their plain names, as in Max(x, 0)",
    "|": "write abs(...)",
    "=": "write the formula alone, and parameters by their order",
    "²": "write **2",
    "if": "write Piecewise((x, x > 0), (0, True))",
}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Node:
    """A node of the parse tree: ``kind`` is number, name, call, pair, an operator or a comparison."""

    kind: str
    at: int
    value: str = ""
    children: tuple[Node, ...] = ()


def _fault(text: str, at: int, cause: str, remedy: str) -> ExpressionError:
    shown = text if len(text) <= 60 else text[max(0, at - 25) : at + 25]
    return ExpressionError(f"{cause} at position {at + 1} of {shown!r}", remedy)


def tokenize(text: str) -> tuple[Token, ...]:
    """Split a formula into numbers, names and operators.

    >>> [t.text for t in tokenize("Max(x, 0)**2")]
    ['Max', '(', 'x', ',', '0', ')', '**', '2', '']
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the formula has {len(text)} characters, more than {MAX_LENGTH}", "give a shorter formula"
        )
    tokens: list[Token] = []
    at = 0
    while True:
        blank = _SPACE.match(text, at)
        at = blank.end() if blank else at
        if at == len(text):
            return (*tokens, Token("end", "", at))
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _fault(
                text,
                at,
                f"unexpected character {text[at]!r}",
                _HINTS.get(text[at], "use numbers, names, + - * / ** ( ) , and < <= > >="),
            )
        piece = match.group(match.lastgroup)
        if not piece.isascii():
            raise _fault(text, at, "unexpected digit", "write numbers with the digits 0 to 9")
        tokens.append(Token(match.lastgroup, piece, match.start(match.lastgroup)))
        at = match.end()


_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})


class _Reader:
    """Recursive descent: comparison < sum < product < sign < power < atom."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.index = 0
        self.depth = 0
        self.nodes = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.index]

    def take(self) -> Token:
        token = self.next
        self.index += 1
        return token

    def accept(self, *ops: str) -> Token | None:
        return self.take() if self.next.kind == "op" and self.next.text in ops else None

    def expect(self, op: str) -> None:
        if self.accept(op) is None:
            found = f"{self.next.text!r}" if self.next.text else "the end"
            raise _fault(
                self.text, self.next.at, f"expected {op!r}, found {found}", "check the parentheses and commas"
            )

    def node(self, kind: str, at: int, value: str = "", children: tuple[Node, ...] = ()) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ExpressionError(f"the formula has more than {MAX_NODES} parts", "give a shorter formula")
        return Node(kind, at, value, children)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _fault(
                self.text, self.next.at, f"nested deeper than {MAX_DEPTH} levels", "give a flatter formula"
            )

    def whole(self) -> Node:
        tree = self.sum()
        if self.next.kind != "end":
            remedy = (
                "comparisons are only allowed as conditions of Piecewise"
                if self.next.text in _COMPARISONS
                else _HINTS.get(self.next.text, "write * for a product, and check the parentheses")
            )
            raise _fault(self.text, self.next.at, f"unexpected {self.next.text!r}", remedy)
        return tree

    def condition(self) -> Node:
        left = self.sum()
        token = self.accept(*_COMPARISONS)
        if token is None:
            if left.kind == "name" and left.value in ("True", "False"):
                return left
            raise _fault(
                self.text, left.at, "expected a condition", "write for example x < 0, or True for the rest"
            )
        right = self.sum()
        if self.next.text in _COMPARISONS:
            raise _fault(
                self.text,
                self.next.at,
                "chained comparison",
                "order the pieces instead: the first that holds counts",
            )
        return self.node("compare", token.at, token.text, (left, right))

    def sum(self) -> Node:
        tree = self.product()
        while token := self.accept("+", "-"):
            tree = self.node(token.text, token.at, "", (tree, self.product()))
        return tree

    def product(self) -> Node:
        tree = self.signed()
        while token := self.accept("*", "/"):
            tree = self.node(token.text, token.at, "", (tree, self.signed()))
        return tree

    def signed(self) -> Node:
        self.deeper()
        token = self.accept("-", "+")
        if token is None:
            tree = self.power()
        elif token.text == "-":
            tree = self.node("neg", token.at, "", (self.signed(),))
        else:
            tree = self.signed()
        self.depth -= 1
        return tree

    def power(self) -> Node:
        base = self.atom()
        if token := self.accept("**", "^"):
            return self.node("**", token.at, "", (base, self.signed()))
        return base

    def atom(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return self.node("number", token.at, token.text)
        if token.kind == "name":
            if self.accept("("):
                return self.call(token)
            return self.node("name", token.at, token.text)
        if token.kind == "op" and token.text == "(":
            self.deeper()
            tree = self.sum()
            self.expect(")")
            self.depth -= 1
            return tree
        found = f"unexpected {token.text!r}" if token.text else "the formula ends too early"
        raise _fault(self.text, token.at, found, "a number, a name or a parenthesis belongs here")

    def call(self, name: Token) -> Node:
        self.deeper()
        if name.text not in FUNCTIONS and name.text.lower() in FUNCTIONS:
            name = Token(name.kind, name.text.lower(), name.at)  # ReLU, Tanh
        if name.text not in FUNCTIONS and name.text != "Piecewise":
            raise _fault(
                self.text,
                name.at,
                f"unknown function {name.text[:40]!r}",
                f"use one of {', '.join(sorted(FUNCTIONS))}, Piecewise",
            )
        arguments: list[Node] = []
        while self.accept(")") is None:
            if arguments:
                self.expect(",")
            arguments.append(self.pair() if name.text == "Piecewise" else self.sum())
        if len(arguments) > MAX_ARGUMENTS:
            raise _fault(self.text, name.at, f"more than {MAX_ARGUMENTS} arguments", "use fewer")
        low, high = (1, MAX_ARGUMENTS) if name.text == "Piecewise" else FUNCTIONS[name.text].arity
        if not low <= len(arguments) <= high:
            wanted = f"{low}" if low == high else f"{low} to {high}"
            raise _fault(
                self.text, name.at, f"{name.text} has {len(arguments)} arguments", f"give it {wanted}"
            )
        self.depth -= 1
        return self.node("call", name.at, name.text, tuple(arguments))

    def pair(self) -> Node:
        at = self.next.at
        self.expect("(")
        value = self.sum()
        self.expect(",")
        condition = self.condition()
        self.expect(")")
        return self.node("pair", at, "", (value, condition))


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    return sympy.Pow(base, exponent)


def _cbrt(u: sympy.Expr) -> sympy.Expr:
    return sympy.sign(u) * sympy.Abs(u) ** sympy.Rational(1, 3)


def _heaviside(u: sympy.Expr, at_zero: sympy.Expr = sympy.Rational(1, 2)) -> sympy.Expr:
    return sympy.Piecewise((0, u < 0), (at_zero, sympy.Eq(u, 0)), (1, True))


@dataclass(frozen=True)
class _Function:
    build: Callable[..., sympy.Expr]
    arity: tuple[int, int] = (1, 1)


_MANY = (1, MAX_ARGUMENTS)
FUNCTIONS: Mapping[str, _Function] = {
    "Abs": _Function(sympy.Abs),
    "abs": _Function(sympy.Abs),
    "Max": _Function(sympy.Max, _MANY),
    "max": _Function(sympy.Max, _MANY),
    "Min": _Function(sympy.Min, _MANY),
    "min": _Function(sympy.Min, _MANY),
    "exp": _Function(sympy.exp),
    "log": _Function(sympy.log),
    "ln": _Function(sympy.log),
    "log1p": _Function(lambda u: sympy.log(1 + u)),
    "sqrt": _Function(sympy.sqrt),
    "cbrt": _Function(_cbrt),
    "sign": _Function(sympy.sign),
    "tanh": _Function(sympy.tanh),
    "sinh": _Function(sympy.sinh),
    "cosh": _Function(sympy.cosh),
    "sin": _Function(sympy.sin),
    "cos": _Function(sympy.cos),
    "tan": _Function(sympy.tan),
    "atan": _Function(sympy.atan),
    "arctan": _Function(sympy.atan),
    "erf": _Function(sympy.erf),
    "floor": _Function(sympy.floor),
    "Heaviside": _Function(_heaviside, (1, 2)),
    "relu": _Function(lambda u: sympy.Max(u, 0)),
    "sigmoid": _Function(lambda u: 1 / (1 + sympy.exp(-u))),
    "softplus": _Function(lambda u: sympy.log(1 + sympy.exp(u))),
    "silu": _Function(lambda u: u / (1 + sympy.exp(-u))),
    "gelu": _Function(lambda u: u * (1 + sympy.erf(u / sympy.sqrt(2))) / 2),
}
CONSTANTS: Mapping[str, sympy.Expr] = {"pi": sympy.pi, "E": sympy.E}
OURS = frozenset({"x", "w", "lambda", "A", "B"})
"""Names with a meaning of their own in a derivation, beside A_p and B_p."""
_RESERVED = frozenset(FUNCTIONS) | frozenset({"Piecewise", "True", "False"}) | frozenset(CONSTANTS)


def _number(text: str, token: str, at: int) -> sympy.Rational:
    mantissa, _, exponent = token.lower().partition("e")
    if len(mantissa) > 60 or len(exponent) > 4 or abs(int(exponent or "0")) > 400:
        raise _fault(text, at, "number too long", "use at most 60 digits and exponents up to 400")
    value = Fraction(token)
    return sympy.Rational(value.numerator, value.denominator)


def _names(node: Node, in_exponent: bool = False) -> set[tuple[str, bool]]:
    if node.kind == "name":
        return set() if node.value in _RESERVED else {(node.value, in_exponent)}
    if node.kind == "**":
        return _names(node.children[0], in_exponent) | _names(node.children[1], True)
    return {n for child in node.children for n in _names(child, in_exponent)}


class _Builder:
    """The tree as SymPy objects; each node made is looked at before the next uses it."""

    def __init__(self, text: str, symbols: Mapping[str, sympy.Symbol]) -> None:
        self.text = text
        self.symbols = symbols

    def build(self, node: Node) -> sympy.Expr:
        if node.kind == "number":
            return _number(self.text, node.value, node.at)
        if node.kind == "name":
            return self.name(node)
        if node.kind == "call" and node.value == "Piecewise":
            return self.sound(node, self.piecewise(node))
        children = [self.build(child) for child in node.children]
        return self.sound(node, self.apply(node, children))

    def apply(self, node: Node, args: Sequence[sympy.Expr]) -> sympy.Expr:
        if node.kind == "neg":
            return -args[0]
        if node.kind == "+":
            return args[0] + args[1]
        if node.kind == "-":
            return args[0] - args[1]
        if node.kind == "*":
            return args[0] * args[1]
        if node.kind == "/":
            if args[1].is_zero:
                raise _fault(self.text, node.at, "division by zero", "correct the denominator")
            return args[0] / args[1]
        if node.kind == "**":
            self.limit_power(node, args[0], args[1])
            return _power(args[0], args[1])
        return FUNCTIONS[node.value].build(*args)

    def limit_power(self, node: Node, base: sympy.Expr, exponent: sympy.Expr) -> None:
        if base.is_zero and exponent.is_negative:
            raise _fault(self.text, node.at, "zero to a negative power", "correct the base or the exponent")
        if exponent.free_symbols:
            return
        size = ball.enclose(exponent, {}, 64)
        limit = MAX_EXPONENT if base.is_Symbol or not base.free_symbols else MAX_COMPOUND_EXPONENT
        if isinstance(base, sympy.Abs) and base.args[0].is_Symbol:
            limit = MAX_EXPONENT
        if not bool(abs(size) <= limit):
            raise _fault(self.text, node.at, f"exponent larger than {limit}", "use a smaller exponent")
        if base.is_Rational and exponent.is_Rational:
            top = max(abs(int(base.p)), int(base.q)).bit_length() * (
                abs(int(exponent.p)) // int(exponent.q) + 1
            )
            if top > MAX_BITS or int(exponent.q) > 10**6:
                raise _fault(self.text, node.at, "the power has too many digits", "use smaller numbers")

    def name(self, node: Node) -> sympy.Expr:
        if node.value in CONSTANTS:
            return CONSTANTS[node.value]
        if node.value in self.symbols:
            return self.symbols[node.value]
        if node.value in _RESERVED:
            raise _fault(
                self.text, node.at, f"{node.value!r} is not a value", "give the function its arguments"
            )
        known = ", ".join(sorted(self.symbols)) or "none"
        raise _fault(self.text, node.at, f"unknown name {node.value[:40]!r}", f"the names here are: {known}")

    def piecewise(self, node: Node) -> sympy.Expr:
        last = node.children[-1].children[1]
        if not (last.kind == "name" and last.value == "True"):
            raise _fault(
                self.text, last.at, "Piecewise has no last piece for the rest", "end with (..., True)"
            )
        pieces = [(self.build(p.children[0]), self.condition(p.children[1])) for p in node.children]
        return sympy.Piecewise(*pieces)

    def condition(self, node: Node) -> sympy.Basic:
        if node.kind == "name":
            return sympy.true if node.value == "True" else sympy.false
        left, right = (self.build(child) for child in node.children)
        if left.has(sympy.Piecewise) or right.has(sympy.Piecewise):
            raise _fault(
                self.text, node.at, "a Piecewise inside a condition", "write its cases out as pieces"
            )
        relations: dict[str, Callable[[sympy.Expr, sympy.Expr], sympy.Basic]] = {
            "<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge, "==": sympy.Eq, "!=": sympy.Ne,
        }  # fmt: skip
        return relations[node.value](left, right)

    def sound(self, node: Node, made: sympy.Expr) -> sympy.Expr:
        """Refuse what is not a real number, or too large a constant to compute with."""
        if made.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
            raise _fault(self.text, node.at, "division by zero or an infinite value", "use finite numbers")
        if made.has(sympy.I) or made.is_real is False:
            raise _fault(
                self.text,
                node.at,
                "a value that is not real",
                "use abs(...) under roots and logarithms, or cbrt(...)",
            )
        if not made.free_symbols and not made.is_Rational:
            size = abs(ball.enclose(made, {}, 64))
            if not size.is_finite() or bool(size > ball.power_of_ten(1000)):
                raise _fault(
                    self.text, node.at, "a constant too large to compute with", "use smaller numbers"
                )
        elif made.is_Rational and max(abs(int(made.p)), int(made.q)).bit_length() > MAX_BITS:
            raise _fault(self.text, node.at, "a constant with too many digits", "use smaller numbers")
        return made


def _build(text: str, symbols: Mapping[str, sympy.Symbol], tree: Node) -> sympy.Expr:
    try:
        made = within(QUESTION, lambda: _Builder(text, symbols).build(tree), None)
    except (TypeError, ValueError, RecursionError, NotImplementedError) as fault:  # from within SymPy
        raise ExpressionError(
            f"{text[:60]!r} could not be read ({type(fault).__name__}: {str(fault)[:80]})",
            "write it in simpler pieces, each with real values everywhere",
        ) from fault
    if made is None:
        raise ExpressionError(f"{text[:60]!r}: {too_long(QUESTION)}", "give a simpler formula")
    return made


def _read(text: str) -> Node:
    if not text.strip():
        raise ExpressionError("the formula is empty", "give a formula such as 'Max(x, 0)'")
    return _Reader(text).whole()


def parse(
    text: str,
    *,
    allowed_symbols: Mapping[str, sympy.Symbol] | None = None,
    positive: Collection[str] = (),
) -> sympy.Expr:
    """Read a formula.

    With ``allowed_symbols`` no other names may occur; without, each free name becomes a real symbol, and
    a positive one where it is in ``positive``.

    >>> parse("Max(x, 0)**2 + 0.1*x")
    x/10 + Max(0, x)**2

    Raises ExpressionError: with the position, the cause and a remedy.
    """
    tree = _read(text)
    if allowed_symbols is None:
        names = {name for name, _ in _names(tree)}
        allowed_symbols = {
            n: sympy.Symbol(n, positive=True) if n in positive else sympy.Symbol(n, real=True) for n in names
        }
    return _build(text, allowed_symbols, tree)


def free_names(text: str) -> frozenset[str]:
    """The names in a formula that are neither functions nor constants.

    >>> sorted(free_names("a*x + pi*Max(y, 0)"))
    ['a', 'x', 'y']

    Raises ExpressionError.
    """
    return frozenset(name for name, _ in _names(_read(text)))


@dataclass(frozen=True)
class Formula:
    """A formula in one variable with its free parameters and what is assumed of them."""

    text: str
    expression: sympy.Expr
    variable: sympy.Symbol
    domains: tuple[Domain, ...]
    assumptions: tuple[str, ...]

    @property
    def parameters(self) -> tuple[sympy.Symbol, ...]:
        """The free parameters that are left in the expression, by name."""
        free = self.expression.free_symbols - {self.variable}
        return tuple(sorted((s for s in free if isinstance(s, sympy.Symbol)), key=lambda s: s.name))


def refuse_ours(names: Collection[str], variable: str) -> None:
    """Raise ExpressionError where a parameter has a name that the derivation uses itself.

    >>> refuse_ours(["lambda"], "w")
    Traceback (most recent call last):
    ...
    balproof.errors.ExpressionError: 'lambda' cannot be a parameter: the variable is w; call it alpha, say
    """
    taken = sorted(n for n in names if n in OURS or n[:2] in ("A_", "B_"))
    if taken:
        raise ExpressionError(
            f"{taken[0]!r} cannot be a parameter", f"the variable is {variable}; call it alpha, say"
        )


def parse_formula(
    text: str, variable: str, assumptions: Sequence[str] = (), *, positive_parameters: bool = False
) -> Formula:
    """Read a formula in ``variable``; every other name is a parameter.

    A parameter is real unless it occurs in an exponent or ``positive_parameters`` is set: then it is
    taken to be positive.  Whatever is given in ``assumptions`` wins, and all that is assumed is listed.

    >>> f = parse_formula("a*abs(w)**p", "w", ["a<0"])
    >>> f.expression, f.assumptions
    (a*Abs(w)**p, ('a < 0', 'p > 0'))

    Raises ExpressionError.
    """
    tree = _read(text)
    occurrences = _names(tree)
    names = sorted({name for name, _ in occurrences} - {variable})
    refuse_ours(names, variable)
    given = [Assumption.parse(a) for a in assumptions]
    for a in given:
        if a.name == variable or a.name in _RESERVED:
            raise ExpressionError(f"assumption on {a.name!r}", "assume something of parameters only")
    told = {a.name for a in given}
    exponents = {name for name, high in occurrences if high}
    for name in names:
        if name not in told:
            assumed_positive = positive_parameters or name in exponents
            given.append(Assumption(name, ">" if assumed_positive else "real"))
    known = domains(names, given)
    symbols = {name: domain.symbol() for name, domain in known.items()}
    x = sympy.Symbol(variable, real=True)
    expression = _build(text, {**symbols, variable: x}, tree)
    kept = tuple(sorted(str(a) for a in given if a.name in names))
    return Formula(text, expression, x, tuple(known[n] for n in names), kept)
