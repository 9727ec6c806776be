"""The value of an arithmetic expression that a model wrote: parsed here, never executed."""

import math
import re

LONGEST = 1000  # characters of an expression
DEEPEST = 50  # parentheses and signs inside each other
CLOSE = 1e-9  # relative: 0.1 + 0.2 is 0.3 for whoever wrote it
NUMBER = r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+\.?[0-9]*|\.[0-9]+"
_TOKEN = re.compile(rf"\s*(?:(?P<number>{NUMBER})|(?P<sign>[-+*/()]))")
_SIGNS = str.maketrans({"−": "-", "×": "*", "÷": "/"})


def evaluate(expression: str) -> float:
    """The value of numbers, + - * /, signs and parentheses, in double precision and with Python's precedence.

    Numbers are decimal, such as 12, 0.5, .5 or 1,234.5, where a comma has three digits behind it; − × ÷ are - * /.

    Raises ValueError, in one line, for anything else (names, calls, **, //, %, exponents, 2(3)), for more than LONGEST
    characters or DEEPEST levels, for a division by zero, and for values too large for a double.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"expression: expected at most {LONGEST} characters, got {len(expression)}.")
    return _Parser(expression).whole()


def equal_values(one: float, other: float) -> bool:
    """Whether two values are the same number but for rounding (1e-9, relative). NaN equals nothing."""
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)


class _Parser:
    """One pass from left to right: a sum of products of signed numbers or parentheses."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = self._split(expression.translate(_SIGNS).rstrip())
        self.at, self.depth = 0, 0

    def whole(self) -> float:
        value = self._sum()
        if self.at < len(self.tokens):
            raise self._error(f"expected an operator, got {self.tokens[self.at]!r}")
        return value

    def _sum(self) -> float:
        value = self._product()
        while (sign := self._take("+", "-")) is not None:
            other = self._product()
            value = self._finite(value + other if sign == "+" else value - other)
        return value

    def _product(self) -> float:
        value = self._signed()
        while (sign := self._take("*", "/")) is not None:
            other = self._signed()
            if sign == "/" and other == 0:
                raise self._error("divides by zero")
            value = self._finite(value * other if sign == "*" else value / other)
        return value

    def _signed(self) -> float:
        """A number, a parenthesis, or either with a sign before it."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(f"is more than {DEEPEST} levels deep")
        if (sign := self._take("+", "-")) is not None:
            value = self._signed() if sign == "+" else -self._signed()
        elif self._take("("):
            value = self._sum()
            if self._take(")") is None:
                raise self._error("expected a ')'" + self._instead())
        else:
            value = self._number()
        self.depth -= 1
        return value

    def _number(self) -> float:
        token = self.tokens[self.at] if self.at < len(self.tokens) else ""
        if not token or token in "+-*/()":
            raise self._error("expected a number" + self._instead())
        self.at += 1
        return self._finite(float(token.replace(",", "")))

    def _take(self, *signs: str) -> str | None:
        """The next token, if it is one of these."""
        if self.at < len(self.tokens) and self.tokens[self.at] in signs:
            self.at += 1
            return self.tokens[self.at - 1]
        return None

    def _split(self, text: str) -> list[str]:
        tokens, at = [], 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._error(f"expected numbers, + - * / and parentheses, got {text[at:].split()[0][:20]!r}")
            tokens.append(found["number"] or found["sign"])
            at = found.end()
        return tokens

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            raise self._error("is too large")
        return value

    def _instead(self) -> str:
        return f", got {self.tokens[self.at]!r}" if self.at < len(self.tokens) else " before the end"

    def _error(self, what: str) -> ValueError:
        shown = self.expression if len(self.expression) <= 60 else f"{self.expression[:60]}…"
        return ValueError(f"expression {shown!r}: {what}.")
