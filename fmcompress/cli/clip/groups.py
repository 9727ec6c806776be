"""fmcompress clip groups."""

from pathlib import Path
from typing import Annotated

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app


@clip_app.command()
def groups(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTIONS...", help="CSV of label, predicted and group[,name][,split]; one a method."
        ),
    ],
    train_labels: opt.TrainLabels = None,
    plot: shared.Plot = None,
    force: shared.Replace = False,
    json: shared.Json = False,
) -> None:
    """Accuracy on average, adjusted and by group, of one method's predictions or of several beside each other."""
    from ...clip.evaluation import reports_of
    from ...clip.pictures import plot_groups
    from ...clip_tables import accuracy_table, groups_table
    from ...files import refuse_existing
    from ...report import out, print_json

    refuse_existing(force, None, plot)
    reports, notes = reports_of(predictions, train_labels)
    if plot:
        plot_groups(reports, plot)
    opt.say(notes)
    if json:
        print_json({"reports": {name: report.as_dict() for name, report in reports.items()}, "notes": notes})
        return
    out.print(accuracy_table(reports))
    out.print(groups_table(reports))
