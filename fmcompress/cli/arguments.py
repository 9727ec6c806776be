"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(help="Folder of a Hugging Face checkpoint (safetensors).")]
Out = Annotated[Path, typer.Argument(help="Folder to write; appears when all of it was checked.")]
Calibration = Annotated[
    Path | None,
    typer.Option(
        help="Text: .txt or .jsonl, also .gz or .xz. Of a model of images: a folder of those. Of one that looks at "
        "both at once: a manifest (.jsonl) of image or video, and text."
    ),
]
Images = Annotated[Path | None, typer.Option(help="Folder of images beside a text, for a model of both.")]
MinTokens = Annotated[int | None, typer.Option(help="Tokens that must reach a layer, such as an expert; default 1.")]
FewTokens = Annotated[
    str | None, typer.Option(help="What to do where fewer do: error (default), or magnitude (prune) or rtn (quantize).")
]
GroupSize = Annotated[str | None, typer.Option(help="Columns that share a scale, e.g. 128 (default); or row.")]
Symmetric = Annotated[
    bool | None, typer.Option("--symmetric/--asymmetric", help="Same range on both sides (default), or a zero-point.")
]
ClipSearch = Annotated[
    bool | None, typer.Option("--clip-search", help="Try clipped ranges for the least squared error.")
]
ActivationOrder = Annotated[
    bool | None, typer.Option("--activation-order", help="Sweep the columns by falling activation.")
]
KeepZeros = Annotated[
    bool | None, typer.Option("--keep-zeros", help="Weights that are 0 stay 0: keeps the pattern of a pruned model.")
]
Format = Annotated[
    str | None, typer.Option("--format", help="dense, packed, or compressed-tensors (default with --bits).")
]
Samples = Annotated[int | None, typer.Option(help="Calibration sequences; default 32k tokens (CPU), 262k (GPU).")]
SequenceLength = Annotated[int | None, typer.Option(help="Tokens in a sequence; default 2048.")]
Seed = Annotated[int | None, typer.Option(help="Which sequences are drawn; default 0.")]
Damping = Annotated[float | None, typer.Option(help="Share of the mean Hessian diagonal; default 0.01.")]
TrueSequential = Annotated[bool | None, typer.Option("--true-sequential", help="Calibrate anew inside a block.")]
Include = Annotated[str | None, typer.Option(help="Only tensors whose name matches this regex.")]
Exclude = Annotated[str | None, typer.Option(help="No tensors whose name matches this regex.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
CudaGraphs = Annotated[
    bool | None, typer.Option("--cuda-graphs/--no-cuda-graphs", help="Keep solves of one shape as CUDA graphs.")
]
Products = Annotated[
    str | None, typer.Option(help="Of a solve on a GPU: fp32 (default), or tf32x3, three TF32 products each.")
]
Dtype = Annotated[str | None, typer.Option(help="To run the model in: auto, float32, bfloat16, float16.")]
RunDtype = Annotated[str, typer.Option(help="To run the model in: auto, float32, bfloat16, float16.")]
Verify = Annotated[bool, typer.Option("--verify/--no-verify", help="Check all packed weights first.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file with options of the method; flags win.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT, forget an interrupted run.")]
Plot = Annotated[Path | None, typer.Option(help="Picture to draw: .png, .svg or .pdf.")]
Replace = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
