"""The paper's example of a poor pretext task: predicting rotations joins an image with its own rotations alone.

What comes out depends on how it is modelled. With rotated copies as objects, any two copies of an image are joined by
exactly one morphism each way, and one prompt speaks for one image. With a symmetric image as one object, its rotations
are automorphisms, and one prompt has as many answers as there are rotations.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .category import FiniteCategory, Name, listed
from .constructions import from_group_action, from_monoid
from .representability import Prompts, Representability, is_representable, prompts_needed
from .set_functor import Presheaf, constant
from .theorems import FineTuning, check_fine_tuning


@dataclass(frozen=True)
class Outcome:
    """A task on a category of rotations, and what solves it."""

    title: str
    one_prompt: Representability
    prompts: Prompts
    fine_tuning: FineTuning


def rotations(turns: int = 4) -> FiniteCategory:
    """The cyclic group of rotations 0, …, turns - 1, as a category of one object: one image that looks alike in all."""
    return from_monoid(range(turns), lambda a, b: (a + b) % turns)


def rotated_images(images: Iterable[Name], turns: int = 4) -> FiniteCategory:
    """Objects (image, rotation), and one morphism between any two copies of one image; none between two images."""
    points = [(image, turn) for image in listed(images) for turn in range(turns)]
    return from_group_action(rotations(turns), points, lambda turn, copy: (copy[0], (copy[1] + turn) % turns))


def angle_task(category: FiniteCategory, turns: int = 4) -> Presheaf:
    """On the categories above: every object has all angles as answers, and a rotation changes them by its own."""
    return Presheaf(
        category,
        {name: range(turns) for name in category.objects},
        lambda morphism, angle: (angle - (morphism[0] if isinstance(morphism, tuple) else morphism)) % turns,
    )


def outcomes() -> list[Outcome]:
    """What can be said of the example, each computed."""
    tasks = [
        (
            f"label of {count} rotated {'image' if count == 1 else 'images'}",
            constant(rotated_images("abc"[:count]), ["label"]),
        )
        for count in (1, 2, 3)
    ]
    tasks.append(("one of two masks on 2 rotated images", constant(rotated_images("ab"), ["mask 1", "mask 2"])))
    tasks.append(("one of 4 angles on 1 rotated image", angle_task(rotated_images("a"))))
    tasks.append(("label of a symmetric image, one object", constant(rotations(), ["label"])))
    tasks.append(("angle of a symmetric image, one object", angle_task(rotations())))
    return [
        Outcome(title, is_representable(task), prompts_needed(task), check_fine_tuning(task)) for title, task in tasks
    ]
