"""`ldm-sep serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldm_sep.cli.options import Device


def serve(
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where songs and results are kept.")] = Path("songs"),
    name: Annotated[str, typer.Option("-n", "--name", help="Checkpoint: a name, or its folder.")] = "open",
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU cores to separate with; default all.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for a network, with a link that holds a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8766,
    proxy_name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Another name of this server, behind a proxy; repeat.")
    ] = None,
    max_mb: Annotated[float, typer.Option(min=1, help="Largest upload, in MB.")] = 2048,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Longest song.")] = 90,
    places: Annotated[int, typer.Option(min=1, help="Songs that may wait at once; more are refused for now.")] = 20,
    keep_days: Annotated[float, typer.Option(min=0.01, help="Songs are deleted when they are older.")] = 7,
    keep_gb: Annotated[float, typer.Option(min=0.1, help="The oldest are deleted when all take more, in GB.")] = 20,
) -> None:
    """Serve a page in the browser: drop a song, listen to its stems, download them."""
    from ldm_sep.page.records import Bounds
    from ldm_sep.page.server import serve as run

    bounds = Bounds(
        upload=round(max_mb * 1e6),
        minutes=max_minutes,
        places=places,
        keep_days=keep_days,
        keep_bytes=round(keep_gb * 1e9),
    )
    run(
        folder,
        checkpoint=name,
        device=device,
        threads=threads,
        host=host,
        port=port,
        names=proxy_name or (),
        bounds=bounds,
        report=typer.echo,
    )
