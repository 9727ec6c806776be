"""Categories of thousands of morphisms: validated, their mistakes found, and the checks run on them."""

import pytest
from theory_cases import cyclic

from fmcompress.errors import TheoryError
from fmcompress.theory import (
    check_co_yoneda,
    check_fully_faithful,
    check_yoneda,
    corepresentable,
    count_natural_transformations,
    from_monoid,
    from_poset,
    identity_functor,
    is_representable,
    left_kan_extension,
    product,
    prompts_needed,
    side_by_side,
    yoneda,
)


def test_a_group_of_a_thousand():
    group = cyclic(1000)
    group.validate()
    presheaf = yoneda(group, "*")
    presheaf.validate()
    assert count_natural_transformations(presheaf, presheaf) == 1000
    assert check_yoneda(presheaf)
    assert check_fully_faithful(group)
    assert is_representable(presheaf).element == 0
    assert prompts_needed(side_by_side(presheaf, presheaf)).count == 2


def test_one_wrong_product_of_a_million_is_found():
    table = [[(a + b) % 1000 for b in range(1000)] for a in range(1000)]
    table[617][383] = 1
    with pytest.raises(TheoryError, match="expected it to be associative") as caught:
        from_monoid(range(1000), table)
    h, g, f = caught.value.where
    assert table[table[h][g]][f] != table[h][table[g][f]]


def test_an_order_of_ten_thousand():
    chain = from_poset([(one, one + 1) for one in range(140)])
    assert len(chain.morphisms) == 10_011
    chain.validate()
    presheaf = yoneda(chain, 140)
    assert check_yoneda(presheaf)
    assert is_representable(presheaf).prompt == 140
    assert left_kan_extension(presheaf, identity_functor(chain)).unit.is_isomorphism
    assert check_co_yoneda(corepresentable(chain, 0))


def test_objects_with_symmetries():
    category = product(from_poset([(one, one + 1) for one in range(10)]), cyclic(16))
    assert len(category.morphisms) == 1_056
    category.validate()
    assert check_fully_faithful(category)
    assert check_co_yoneda(corepresentable(category, (0, "*")))
