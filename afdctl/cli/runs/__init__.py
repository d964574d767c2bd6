"""`afdctl runs`: the runs on disk."""

import typer

from afdctl.cli.runs import best, compare, ls, manage, show

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command("ls")(ls.ls)
app.command("show")(show.show)
app.command("best")(best.best)
app.command("compare")(compare.compare)
app.command("rm")(manage.rm)
app.command("rebuild")(manage.rebuild)
app.command("import")(manage.import_)
