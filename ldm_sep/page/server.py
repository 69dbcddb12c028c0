"""The web server of the page: what `ldm-sep serve` runs."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from ldm_sep.checkpoint.manifest import read_manifest
from ldm_sep.checkpoint.names import find_checkpoint
from ldm_sep.errors import CheckpointError, need_package
from ldm_sep.files import locked, make_folder, shown
from ldm_sep.page.api import COOKIE, Page
from ldm_sep.page.job_queue import JobQueue
from ldm_sep.page.job_store import JobStore
from ldm_sep.page.media import page_app
from ldm_sep.page.records import Bounds
from ldm_sep.page.work import SeparationWorker
from ldm_sep.web.app import address_of, names_for, open_socket, run
from ldm_sep.web.door import Door
from ldm_sep.web.tokens import Tokens, load_tokens

GUEST = "everybody"


def serve(
    folder: Path,
    *,
    checkpoint: str,
    device: str = "auto",
    threads: int | None = None,
    host: str = "127.0.0.1",
    port: int = 8766,
    names: Sequence[str] = (),
    bounds: Bounds = Bounds(),
    report: Callable[[str], None] = print,
) -> None:
    """Serve the page for songs, and keep them below ``folder``, until told to stop.

    ``checkpoint``, ``device``, ``threads``: as for `Separator`. At a loopback ``host`` nobody needs a link; at any
    other all use one with a token, reported once. ``names``: what else the server is called in the network, for a
    reverse proxy. ``report`` takes lines for the user.

    LdmSepError for a checkpoint, a folder or an address that cannot be used, and for a folder that another server has.
    """
    for package, distribution in (("starlette", None), ("uvicorn", None), ("PIL", "pillow")):
        need_package("ldm-sep serve", package, distribution)
    manifest = read_manifest(find_checkpoint(checkpoint))
    if manifest.kind != "separator":
        raise CheckpointError(f"{shown(checkpoint)}: is a codec; name a separator, see 'ldm-sep models list'")
    make_folder(folder)
    with locked(folder):
        store = JobStore(folder)
        for note in store.notes:
            report(note)
        opened, local = open_socket(host, port)
        with opened, closing(JobQueue(store, SeparationWorker(checkpoint, device, threads), bounds, report)) as jobs:
            address = address_of(host, opened)
            tokens = None if local else _tokens(folder, address, report)
            page = Page(manifest, store, jobs, bounds, Door(tokens, COOKIE))
            allowed = names_for(host, address, names)
            report(f"checkpoint {shown(manifest.config.name)}; songs are kept in {shown(folder)}")
            report(f"open {address}/ (Ctrl+C stops; what is in the queue goes on at the next start)")
            jobs.start()
            run(page_app(page, allowed), opened)
    report(f"stopped; the songs are in {shown(folder)}")


def _tokens(folder: Path, address: str, report: Callable[[str], None]) -> Tokens:
    path = folder / "access.json"
    tokens, made = load_tokens(path, [GUEST])
    for token in made.values():
        report(f"the link, shown this once, for everybody who may use this page: {address}/#token={token}")
    if not made:
        report(f"the link given out before is valid; for a new one delete {shown(path)} and start again")
    return tokens
