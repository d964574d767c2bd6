"""Arguments and options that several commands have."""

import typer

RECIPE = typer.Argument(
    metavar="RECIPE",
    help="A recipe's file, or the name of a packaged one (see `afdctl recipes ls`).",
    show_default=False,
)
SET = typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as defense.lr_F=0.1; may be repeated.")
