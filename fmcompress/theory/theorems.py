"""The theorems of "On the Power of Foundation Models" (Yuan, ICML 2023), checked on finite categories.

Idealised: no error, all objects, all resources. A check computes both sides of a statement on one category, which
illustrates it; it certifies nothing about a real network. Theorem numbers are left out, since ours could not be
compared with the published text.
"""

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from ..errors import TheoryError
from .category import counted, shown
from .embedding import Checked, yoneda, yoneda_morphism
from .enumeration import find_isomorphism, natural_transformations
from .extension import check_co_yoneda, yoneda_extension
from .functor import Functor
from .kan import KanExtension, left_kan_extension
from .natural import NaturalTransformation
from .representability import Representability, is_representable
from .set_functor import Presheaf, SetFunctor


@dataclass(frozen=True)
class PromptTuning(Checked):
    """Prompt tuning solves a task iff it is representable.

    holds    whether both sides agree: they are computed apart
    prompts  objects P with Hom(-, P) isomorphic to the task, found by trying every prompt
    verdict  what `is_representable` says; its `failures` tell for every prompt where it fails
    """

    prompts: tuple[Any, ...]
    verdict: Representability

    @property
    def solved(self) -> bool:
        """Whether one prompt solves the task."""
        return bool(self.prompts)


@dataclass(frozen=True)
class FineTuning(Checked):
    """Fine-tuning solves every task, by its extension along Yoneda.

    isomorphism  object X -> {t of T(X): element of the extension at h_X}
    """

    isomorphism: dict[Any, dict[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class StructureTransfer(Checked):
    """Structure transfers along feature-aligned functors.

    images  object X -> the object of the last category that is read from the features of X alone
    """

    images: dict[Any, Any] = field(default_factory=dict)


def check_prompt_tuning(task: Presheaf) -> PromptTuning:
    """That one prompt solves a task iff the task is representable, and which.

    "Solves" means Hom(X, P) = T(X) naturally in X: sets of equal size that change differently are not enough. The left
    side looks for an isomorphism h_P -> T for every prompt, the right side for a terminal element.
    """
    category = task.category
    prompts = tuple(one for one in category.objects if find_isomorphism(yoneda(category, one), task))
    verdict = is_representable(task)
    holds = verdict.prompt in prompts if verdict else not prompts
    holds = holds and all(category.isomorphic(prompts[0], other) for other in prompts[1:])
    if not holds:
        return PromptTuning(False, f"Trying all prompts found {len(prompts)}, but: {verdict}", prompts, verdict)
    if not verdict:
        told = str(verdict).removeprefix("Not representable: ")
        return PromptTuning(True, f"No prompt solves the task, which is not representable: {told}", prompts, verdict)
    others = (
        f", as {'does' if len(prompts) == 2 else 'do'} {counted(len(prompts) - 1, 'prompt')} isomorphic to it"
        if prompts[1:]
        else ""
    )
    told = f"The prompt {shown(verdict.prompt)} solves the task{others}: the universal element is"
    return PromptTuning(True, f"{told} {shown(verdict.element)}.", prompts, verdict)


def check_fine_tuning(task: SetFunctor) -> FineTuning:
    """That the extension of T along Yoneda gives back T on the features h_X, by t -> (X, identity, t), naturally.

    A presheaf is taken as a functor on the opposite category, where the features of X are Hom(X, -).
    """
    functor = task.covariant()
    found = check_co_yoneda(functor)
    if not found:
        return FineTuning(False, found.sentence)
    extension = yoneda_extension(functor)
    isomorphism = {one: extension.unit(one) for one in functor.category.objects}
    count = sum(map(len, isomorphism.values()))
    told = f"a function of the features gives {counted(count, 'answer')} on {counted(len(isomorphism), 'object')}"
    return FineTuning(True, f"Fine-tuning solves the task: {told}, up to isomorphism.", isomorphism)


def check_structure_transfer(*functors: Functor) -> StructureTransfer:
    """That Hom(X, Y) = Hom(F^ h_X, F^ h_Y) and that F(X) is read from F^ h_X, for every X, for F^ = F_!.

    functors  a full embedding F, or a chain of them: F^ is then one extension after the other

    F_! is the left Kan extension of presheaves, the canonical functor that is feature-aligned with F. F(X) is found as
    the object that represents F^ h_X, so up to isomorphism. Raises TheoryError for a functor that is not fully
    faithful, with a morphism that shows it.
    """
    for one in functors:
        _require_embedding(one)
    whole = reduce(lambda earlier, later: later.after(earlier), functors)
    category = whole.source
    chains = {one: _extensions(yoneda(category, one), functors) for one in category.objects}
    images: dict[Any, Any] = {}
    for one, chain in chains.items():
        verdict = is_representable(chain[-1].functor)
        images[one] = verdict.prompt
        if not verdict or not whole.target.isomorphic(verdict.prompt, whole.of_object(one)):
            told = f"expected {shown(whole.of_object(one))}, got {verdict}"
            return StructureTransfer(False, f"The features of {shown(one)} do not give its image: {told}", images)
    for x in category.objects:
        for y in category.objects:
            source, target = chains[x], chains[y]
            given = {_along(source, target, yoneda_morphism(category, f)) for f in category.hom(x, y)}
            found = set(natural_transformations(source[-1].functor, target[-1].functor))
            if given != found or len(given) < len(category.hom(x, y)):
                told = f"{counted(len(category.hom(x, y)), 'morphism')} from {shown(x)} to {shown(y)}"
                told = f"{told} and {counted(len(found), 'transformation')} of their features"
                return StructureTransfer(False, f"The structure does not transfer: {told}.", images)
    told = f"the {counted(len(category.morphisms), 'morphism')} are those between the features"
    told = f"{told}, and {counted(len(images), 'object')} are read from theirs"
    return StructureTransfer(True, f"The structure transfers: {told}.", images)


def _extensions(presheaf: Presheaf, functors: tuple[Functor, ...]) -> list[KanExtension[Presheaf]]:
    chain: list[KanExtension[Presheaf]] = []
    for one in functors:
        chain.append(left_kan_extension(chain[-1].functor if chain else presheaf, one))
    return chain


def _along(
    source: list[KanExtension[Presheaf]], target: list[KanExtension[Presheaf]], transformation: NaturalTransformation
) -> NaturalTransformation:
    for start, end in zip(source, target, strict=True):
        transformation = start.map(transformation, end)
    return transformation


def _require_embedding(functor: Functor) -> None:
    found = functor.unfaithful()
    if found is not None:
        kind, names = found
        told = " and ".join(map(shown, names))
        why = f"{told} have one image" if kind == "faithful" else f"{told} is the image of no morphism"
        raise TheoryError(f"functor: expected a full embedding, got one that is not {kind}: {why}.", *names)
