"""A training from a manifest to a finished folder, which may be interrupted and goes on."""

from pathlib import Path
from typing import Any

from ...devices import pick_device
from ...errors import ConfigError, FmcompressError
from ...files import sha256_of
from ...models.omnivl import OmniVLConfig
from ...pairs import Pair, read_pairs, require_media
from ...training.folder import Record as Facts
from ...training.folder import TrainingFolder, read_log
from ...training.loop import Observer, train
from ...training.schedule import Schedule
from .beginning import begin, new_model
from .curves import plot_losses
from .data import TEMPLATES, ManifestPairs
from .inputs import OmniVLInputs
from .objective import LOSSES, Objective
from .options import SIZES, Size, TrainOptions, size_like
from .stages import Stage, require_items
from .train import Record, Trainer

STEPS = 1000  # of each stage by default
LAST = 50  # steps of images, and of videos, whose mean losses are told


def run_training(
    pairs: Path, out: Path, options: TrainOptions, observer: Observer, *, device: str = "auto",
    plot: Path | None = None, resume: bool = False, force: bool = False,
) -> Facts:  # fmt: skip
    """Train a model on the pairs of a manifest, of its split "train" where it has splits, and write it into OUT.

    plot  picture of the losses, drawn anew at each checkpoint

    Returns out, steps, pairs, classes, losses by "images" and "videos" (means of the last 50 steps) and notes. Raises
    an error before any work where something is missing, Interrupted when the observer stops it.
    """
    where = pick_device(device)
    folder = TrainingFolder(out, resume=resume, force=force)
    given = _training_split(read_pairs(pairs, note=observer.note), observer)
    stages = stages_of(options, given)
    fingerprint = {"pairs": sha256_of(pairs).hex(), **options.model_dump(mode="json", by_alias=True)}
    if folder.finished:
        return {**folder.check_finished(fingerprint), "out": str(out), "finished_before": True}
    require_media(given)
    with folder.open(fingerprint) as begun:
        try:
            trainer, dataset = _trainer(folder, given, options, stages, where, begun)
            if begun:
                trainer.load(*folder.load())
                observer.note(f"resuming: {trainer.step} of {trainer.steps} steps are done")
            train(trainer, folder, observer, options.save_every, plot=plot, draw=plot_losses)
        except FmcompressError:
            folder.discard_if_empty()
            raise
        trainer.model.config.trained_on = _kinds(given, trainer.model.config.trained_on)
        folder.finish_model(trainer.model.eval().to("cpu").save_pretrained)
        records = read_log(folder.log)
        facts = {
            "fingerprint": fingerprint, "steps": trainer.steps, "pairs": len(dataset), "classes": dataset.classes,
            "templates": TEMPLATES, "used": _used(trainer), "losses": last_losses(records),
            "notes": dataset.inputs.notes,
        }  # fmt: skip
        if plot:
            plot_losses(records, plot)
        folder.publish(facts)
    for note in dataset.inputs.notes:
        observer.note(note)
    return {**facts, "out": str(out)}


def _used(trainer: Trainer) -> dict[str, Any]:
    """What stands where options said nothing."""
    objective = trainer.objective
    return {
        "learning_rate": trainer.schedule.learning_rate,
        "momentum": objective.momentum.momentum if objective.momentum else 0,
        "bank": objective.bank.size,
        "stages": [[stage.kind, stage.steps] for stage in trainer.stages],
    }


def stages_of(options: TrainOptions, pairs: list[Pair]) -> list[Stage]:
    """The stages that options ask for; those not mentioned are 1000 steps long if they have what they need.

    Raises CalibrationError for a stage without its images or videos.
    """
    import numpy as np

    videos = np.array([pair.video for pair in pairs])
    images, joint = options.image_steps, options.joint_steps
    share = options.video_share
    if images is None:
        images = 0 if videos.all() else STEPS
    if joint is None:
        joint = STEPS if videos.any() else 0
    stages = [Stage("image", images)] if images else []
    stages += [Stage("joint", joint, share)] if joint else []
    if not stages:
        raise ConfigError("steps: none are left for what the manifest holds. Give --image-steps or --joint-steps.")
    require_items(stages, videos)
    return stages


def last_losses(records: list[Record]) -> dict[str, dict[str, float]]:
    """Means of each loss over the last 50 steps of images, and of videos."""
    told = {}
    for kind, videos in (("images", False), ("videos", True)):
        last = [record for record in records if record["videos"] == videos][-LAST:]
        found = {name: [record[name] for record in last if name in record] for name in LOSSES}
        told[kind] = {name: sum(values) / len(values) for name, values in found.items() if values}
    return {kind: losses for kind, losses in told.items() if losses}


def _training_split(pairs: list[Pair], observer: Observer) -> list[Pair]:
    others = [pair for pair in pairs if pair.split not in (None, "train")]
    if others:
        observer.note(f"{len(others)} of {len(pairs)} pairs are of other splits than train and left out.")
    if len(others) == len(pairs):
        raise ConfigError('split: no pair is of "train", or of none. Mark those to train on.')
    return [pair for pair in pairs if pair.split in (None, "train")]


def _trainer(
    folder: TrainingFolder, pairs: list[Pair], options: TrainOptions, stages: list[Stage], device: Any, begun: bool
) -> tuple[Trainer, ManifestPairs]:
    if begun:
        model = new_model(OmniVLConfig.from_pretrained(folder.model, local_files_only=True))
    else:
        model = begin(options, _texts(pairs), folder.model)
    model.to(device)
    inputs = OmniVLInputs(folder.model)
    span = inputs.config.vision_config.tubelet_size
    if options.frames and options.frames > 1 and options.frames % span:
        raise ConfigError(f"--frames: expected a multiple of {span}, the frames of a patch, got {options.frames}.")
    dataset = ManifestPairs(pairs, inputs, frames=options.frames)
    size = size_like(inputs.config.text_config.hidden_size)
    objective = Objective(
        model,
        contrast=options.contrast,
        momentum=_momentum(options, size),
        bank=options.bank,
        reduction=options.reduction,
        decoder_rows=options.decoder_rows,
    )
    rate = options.learning_rate or size.learning_rate
    schedule = Schedule(
        options.batch_size, rate, options.weight_decay, seed=options.seed, bfloat16=device.type == "cuda"
    )
    return Trainer(objective, dataset, stages, schedule), dataset


def _momentum(options: TrainOptions, size: Size) -> float:
    """As given, else the size's; a bank needs a slow second model."""
    if options.momentum is not None:
        return options.momentum
    return max(one.momentum for one in SIZES.values()) if options.bank else size.momentum


def _kinds(pairs: list[Pair], before: Any) -> list[str]:
    """What a model has seen, with what it had before this training by its config, which a stranger may have written."""
    words = {"captions": "text", "labels": "label", "questions": "question"}
    seen = {kind for kind, key in words.items() if any(getattr(pair, key) is not None for pair in pairs)}
    return sorted(seen | {kind for kind in words if isinstance(before, list) and kind in before})


def _texts(pairs: list[Pair]) -> list[str]:
    prompts = [TEMPLATES[pair.video].replace("{}", pair.label) for pair in pairs if pair.label is not None]
    return prompts + [text for pair in pairs for text in (pair.text, pair.question, pair.answer) if text is not None]
