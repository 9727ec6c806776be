"""Expressions of a stranger: as Python counts where they are arithmetic, told in one line where they are not."""

import contextlib
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmcompress.distillation.arithmetic import DEEPEST, LONGEST, equal_values, evaluate


def drawn(chance, depth):
    """A random expression with floats alone, so that Python counts in double precision, too."""
    kind = chance.choice(["number", "sign", "group", "pair", "pair", "pair"]) if depth else "number"
    if kind == "number":
        return chance.choice([f"{chance.randrange(100)}.0", "0.0", f"{chance.random():.3f}", "2.", ".5"])
    inner = drawn(chance, depth - 1)
    if kind == "sign":
        return f"{chance.choice('+-')}{chance.choice(['', ' '])}{inner}"
    if kind == "group":
        return f"({inner} )"
    return f"{inner}{chance.choice([' ', ''])}{chance.choice('+-*/')} {drawn(chance, depth - 1)}"


def test_agrees_with_python_on_a_random_grammar():
    chance, divided = random.Random(0), 0
    for _ in range(4000):
        text = drawn(chance, chance.randrange(6))
        try:
            expected = eval(text, {"__builtins__": {}})  # of the test's own grammar
        except ZeroDivisionError:
            divided += 1
            with pytest.raises(ValueError, match="divides by zero"):
                evaluate(text)
            continue
        assert evaluate(text) == expected, text  # to the last bit
    assert 10 < divided < 2000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("( 84.0 / 2.0 )", 42), ("(10 - (3 + 6))", 1), ("8 - 4 - 2", 2), ("16 / 4 / 2", 2), ("2 + 3 * 4", 14),
        ("-2 * -3", 6), ("2 - -3", 5), ("--3", 3), ("-(1 + 2)", -3), ("1,234.5 + 1", 1235.5), ("12,345,678", 12345678),
        ("6 × 7 − 2 ÷ 1", 40), ("007", 7), ("1\n+\t1", 2), ("0 * 5", 0),
    ],
)  # fmt: skip
def test_values(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "(23 + x)", "some - 8", "abs(1)", "__import__('os')", "2 ** 3", "7 // 2", "7 % 2", "50%", "1e5",
     "2(3)", "(1)(2)", "1 2", "(1 + 2", "1 + 2)", "()", "1 +", "* 2", "1,23", "1,2345", "0,123", "12,34,567", "1.2.3",
     ".", ",", "1 = 1", "(8 / 4) and (6 / 4)", "(14, 21)", "nan", "inf", "0x10", "1_000", "٣", "[1]", "1;2", "'1'",
     "True", "3 -", "2^3"],
)  # fmt: skip
def test_what_is_no_arithmetic_is_told(text):
    with pytest.raises(ValueError, match="expected") as told:
        evaluate(text)
    assert "\n" not in str(told.value)


def test_too_long_and_too_deep():
    assert evaluate("+".join(["1"] * (LONGEST // 2))) == LONGEST // 2
    with pytest.raises(ValueError, match="at most 1000 characters, got 1001"):
        evaluate("1" * (LONGEST + 1))
    assert evaluate("(" * (DEEPEST - 1) + "1" + ")" * (DEEPEST - 1)) == 1
    for deep in ("(" * DEEPEST + "1" + ")" * DEEPEST, "-" * DEEPEST + "1", "(" * LONGEST):
        with pytest.raises(ValueError, match="more than 50 levels deep"):
            evaluate(deep)
    assert evaluate(" + ".join(["(1)"] * 100)) == 100  # beside each other is not deep


@pytest.mark.parametrize("text", ["9" * 400, f"{'9' * 200} * {'9' * 200}", f"-{'9' * 300} / .{'0' * 50}1"])
def test_what_is_too_large_is_told_and_never_becomes_infinite(text):
    with pytest.raises(ValueError, match="too large"):
        evaluate(text)


def test_division_by_what_becomes_zero():
    for text in ("1 / 0", "1 / (2 - 2)", "0 / 0.0", "5 / -0"):
        with pytest.raises(ValueError, match="divides by zero"):
            evaluate(text)


@given(st.text(alphabet="0123456789.,+-*/() ×÷−nax%", max_size=40) | st.text(max_size=60))
def test_any_text_has_a_finite_value_or_is_told(text):
    with contextlib.suppress(ValueError):
        assert math.isfinite(evaluate(text))


def test_equal_values():
    assert equal_values(0.1 + 0.2, 0.3)
    assert equal_values(0.0, -0.0)
    assert not equal_values(1.0, 1.000001)
    assert not equal_values(math.nan, math.nan)
