"""Categories of paths under relations: known ones, and those that do not close."""

import pytest
from hypothesis import given
from theory_cases import UNHURRIED, free_categories, is_category, written_out

from fmcompress.errors import TheoryError
from fmcompress.theory import Path, from_graph

SQUARE = {"f": ("a", "b"), "g": ("b", "d"), "h": ("a", "c"), "k": ("c", "d")}
SWAPS = {"s": ("*", "*"), "t": ("*", "*")}


@UNHURRIED
@given(free_categories())
def test_paths_form_a_category(category):
    assert is_category(*written_out(category))
    for f in category.morphisms:
        assert category.domain(f) == f.start
        assert len(f.edges) == len({*f.edges})  # without cycles no edge is walked twice


def test_a_square_commutes_iff_it_is_told_to():
    free, commuting = from_graph(SQUARE), from_graph(SQUARE, [("fg", "hk")])
    assert free.hom("a", "d") == (Path("a", ("f", "g")), Path("a", ("h", "k")))
    assert commuting.hom("a", "d") == (Path("a", ("f", "g")),)
    assert commuting.compose(Path("c", ("k",)), Path("a", ("h",))) == Path("a", ("f", "g"))
    assert from_graph(SQUARE, objects="zd").objects == ("z", "d", "a", "b", "c")


@pytest.mark.parametrize(
    ("edges", "relations", "size"),
    [
        (SWAPS, [("ss", ""), ("tt", ""), ("sts", "tst")], 6),
        (SWAPS, [("ss", ""), ("tt", ""), ("st" * 5, "")], 10),
        (SWAPS, [("ss", ""), ("ttt", ""), ("st" * 5, "")], 60),
        (SWAPS, [("sst", ""), ("sttt", "")], 5),  # t = s⁻², s⁵ = 1: what overlaps by two letters
        (SWAPS, [("st", "s"), ("tt", "ss")], 4),
        ({"e": ("*", "*")}, [("ee", "e")], 2),
        ({"a": ("x", "y"), "b": ("y", "x")}, [("ab", ""), ("ba", "")], 4),
        ({"r": ("*", "*")}, [("r" * 30, "r" * 7)], 30),
        (dict.fromkeys("abcd", ("*", "*")),
         [(one * 2, "") for one in "abcd"] + [(x + y + x, y + x + y) for x, y in ("ab", "bc", "cd")]
         + [(x + y, y + x) for x, y in ("ac", "ad", "bd")], 120),
    ],
    ids=["symmetric group", "dihedral group", "icosahedral group", "overlap of two", "absorbing", "idempotent", "isomorphism",
         "rho", "permutations of 5"],
)  # fmt: skip
def test_presented_monoids_and_groupoids_have_their_known_size(edges, relations, size):
    category = from_graph(edges, relations)
    category.validate()
    assert len(category.morphisms) == size
    for left, right in relations:
        at = edges[left[0]][0]
        ends = []
        for path in (left, right):
            morphism = Path(at, ())
            for edge in path:
                morphism = category.compose(Path(edges[edge][0], (edge,)), morphism)
            ends.append(morphism)
        assert ends[0] == ends[1]


def test_rules_that_others_replace_are_not_lost():
    edges = dict.fromkeys("ab", ("*", "*"))
    assert len(from_graph(edges, [("baa", "ba"), ("abb", "aa"), ("aab", "")]).morphisms) == 1
    assert len(from_graph(edges, [("bbbaa", ""), ("ba", "bba"), ("ab", "bab")]).morphisms) == 2


@pytest.mark.parametrize(
    ("edges", "relations", "told"),
    [
        ({"a": ("*", "*")}, [], "expected at most 50 paths, and there are more"),
        (SWAPS, [("sts", "tst")], "they have not closed after"),
        (SQUARE, [("f", "")], "do not join the same two objects"),
        (SQUARE, [("fg", "h")], "do not join the same two objects"),
        (SQUARE, [("gf", "hk")], r"\('g', 'f'\) is no path"),
        (SQUARE, [("fz", "hk")], "'z' is no edge"),
        ({"f": "a"}, [], "'f': expected where it starts and where it ends"),
    ],
)
def test_what_does_not_close_or_hang_together_is_refused(edges, relations, told):
    with pytest.raises(TheoryError, match=told) as caught:
        from_graph(edges, relations, most=50)
    assert "\n" not in str(caught.value)
