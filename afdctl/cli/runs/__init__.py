"""`afdctl runs`: the trainings on disk."""

import typer

from afdctl.cli.runs import compare, import_, ls, rebuild, rm, show

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, compare and remove runs, and import models as runs."
)
app.command("ls")(ls.ls)
app.command("show")(show.show)
app.command("compare")(compare.compare)
app.command("rm")(rm.rm)
app.command("rebuild")(rebuild.rebuild)
app.command("import")(import_.import_)
