"""`llmos schema`: the JSON Schema of scenario files."""

from __future__ import annotations

from pathlib import Path

import click

from llmos.cli.output import print_json, say
from llmos.files import write_whole
from llmos.scenario.load import json_schema


@click.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write it to a file.")
@click.option("--json", "_as_json", is_flag=True, help="It is JSON anyway; for uniformity.")
def command(output: Path | None, _as_json: bool) -> None:
    """Print the JSON Schema of scenario files, with which editors complete and check them."""
    if output is None:
        print_json(json_schema())
        return
    import json

    write_whole(output, json.dumps(json_schema(), indent=2) + "\n")
    say(f"schema: {output}")
