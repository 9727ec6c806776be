"""On the power of foundation models (Yuan 2023), made executable for finite categories; and a practical diagnosis."""

import importlib
from typing import Any

from ..errors import TheoryError

# looked up on first use, so that one part starts no other
_LAZY = {
    "FiniteCategory": ".category",
    "coproduct": ".constructions",
    "discrete": ".constructions",
    "from_group_action": ".constructions",
    "from_monoid": ".constructions",
    "from_poset": ".constructions",
    "full_subcategory": ".constructions",
    "product": ".constructions",
    "Path": ".paths",
    "from_graph": ".paths",
    "load_category": ".reading",
    "Functor": ".functor",
    "identity_functor": ".functor",
    "inclusion": ".functor",
    "to_point": ".functor",
    "Presheaf": ".set_functor",
    "SetFunctor": ".set_functor",
    "constant": ".set_functor",
    "side_by_side": ".set_functor",
    "NaturalTransformation": ".natural",
    "identity_transformation": ".natural",
    "count_natural_transformations": ".enumeration",
    "find_isomorphism": ".enumeration",
    "natural_transformations": ".enumeration",
    "category_of_elements": ".elements",
    "terminal_objects": ".elements",
    "Checked": ".embedding",
    "check_fully_faithful": ".embedding",
    "check_yoneda": ".embedding",
    "corepresentable": ".embedding",
    "element_of": ".embedding",
    "transformation_of": ".embedding",
    "yoneda": ".embedding",
    "yoneda_morphism": ".embedding",
    "Failure": ".representability",
    "Prompts": ".representability",
    "Representability": ".representability",
    "is_representable": ".representability",
    "prompts_needed": ".representability",
    "KanExtension": ".kan",
    "check_universal_property": ".kan",
    "colimit": ".kan",
    "left_kan_extension": ".kan",
    "check_co_yoneda": ".extension",
    "yoneda_extension": ".extension",
    "check_fine_tuning": ".theorems",
    "check_prompt_tuning": ".theorems",
    "check_structure_transfer": ".theorems",
    "Diagnosis": ".findings",
    "TaskDiagnosis": ".findings",
    "diagnose": ".diagnosis",
    "plot_diagnosis": ".diagnosis_pictures",
    "Hierarchy": ".hierarchy",
    "read_hierarchy": ".hierarchy",
    "OrderDiagnosis": ".order_diagnosis",
    "diagnose_order": ".order_diagnosis",
    "Scores": ".score_files",
    "read_scores": ".score_files",
    "scores_of_embeddings": ".score_files",
    "labels_of": ".tasks",
    "read_labels": ".tasks",
    "angle_task": ".rotation",
    "rotated_images": ".rotation",
    "rotations": ".rotation",
}
__all__ = ["TheoryError", *_LAZY]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
