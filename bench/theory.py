"""Seconds to validate large finite categories and to check Yoneda and Kan on them: python bench/theory.py."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from fmcompress.theory import (
    FiniteCategory,
    check_co_yoneda,
    check_fully_faithful,
    check_yoneda,
    corepresentable,
    from_monoid,
    from_poset,
    identity_functor,
    is_representable,
    left_kan_extension,
    product,
    yoneda,
)


def categories() -> Iterator[tuple[str, FiniteCategory]]:
    """One object and many, few generators and the most that there can be."""
    yield "cyclic group of 1,000", from_monoid(range(1000), lambda a, b: (a + b) % 1000)
    null = from_monoid(range(1000), lambda a, b: a + b if not a or not b else 1)  # nearly all morphisms generate
    yield "null monoid of 1,000", null
    yield "chain of 45 objects", from_poset([(one, one + 1) for one in range(44)])
    yield "chain of 141 objects", from_poset([(one, one + 1) for one in range(140)])
    chain = from_poset([(one, one + 1) for one in range(10)])
    yield "chain of 11 times cyclic group of 16", product(chain, from_monoid(range(16), lambda a, b: (a + b) % 16))


def seconds(work: Callable[[], Any]) -> str:
    begun = time.perf_counter()
    work()
    return f"{time.perf_counter() - begun:.2f}"


def main() -> None:
    print("category | morphisms | validate | Yoneda | fully faithful | representable | Lan along identity | co-Yoneda")
    for name, category in categories():
        one = category.objects[-1]
        presheaf, functor = yoneda(category, one), corepresentable(category, category.objects[0])
        checks: list[Callable[[], Any]] = [
            category.validate,
            lambda presheaf=presheaf: check_yoneda(presheaf),
            lambda category=category: check_fully_faithful(category),
            lambda presheaf=presheaf: is_representable(presheaf),
            lambda presheaf=presheaf: left_kan_extension(presheaf, identity_functor(presheaf.category)),
            lambda functor=functor: check_co_yoneda(functor),
        ]
        print(" | ".join([name, f"{len(category.morphisms):,}", *map(seconds, checks)]), flush=True)


if __name__ == "__main__":
    main()
