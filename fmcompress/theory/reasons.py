"""Why a verdict is what it is, in a sentence, with its tolerances."""

from .findings import Diagnosis, TaskDiagnosis
from .verdicts import FINE_TUNING, NOTHING, ONE_PROMPT, count, listed


def reason(found: Diagnosis, task: TaskDiagnosis) -> str:
    """Why the task has its verdict."""
    names, settings = found.scores.prompts, found.settings
    objects = task.positives + task.negatives
    if task.verdict == NOTHING:
        one, other = (found.object_name(place) for place in task.collapse.listed[0])
        least = task.collapse.least_wrong
        return (
            f"{one!r} and {other!r} have identical scores (within {task.collapse.tolerance:.3g}) and different labels: "
            f"at least {count(least, 'object')} of {objects} will be wrong, whatever the method"
        )
    chosen = [names[at] for at in task.prompts]
    within = f"off by {{:.3g}} at most, {settings.tolerance:g} allowed"
    if task.verdict == ONE_PROMPT:
        return f"{chosen[0]!r} is right on all {objects} objects ({within.format(task.error)})"
    most = count(min(settings.prompts, len(names)), "prompt")
    alone = f"{names[task.best]!r} alone is off by {task.error:.3g}"
    if task.verdict != FINE_TUNING:
        fewest = "" if task.fewest else "at most "
        return (
            f"{fewest}{len(chosen)} prompts joined by OR are right on all {objects} objects: {listed(chosen)}; {alone}"
        )
    prompts = f"no {most} or fewer are" if task.fewest else f"no {most} or fewer were found that are"
    separable = task.separation.separable
    plane = {
        True: "a plane in the space of scores is",
        False: "no plane in the space of scores is, only a function that is not linear",
        None: "whether a plane is was not settled, some function of the scores is",
    }[separable]
    return f"{prompts} right on all {objects} objects ({alone}); {plane}"
