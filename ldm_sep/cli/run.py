"""Songs one after the other, as `ldm-sep separate` and `ldm-sep rerun` work through them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ldm_sep.cli.choices import Choices
from ldm_sep.cli.progress import Outcome, Show
from ldm_sep.errors import AudioError, ConfigError, LdmSepError, reason
from ldm_sep.files import shown

if TYPE_CHECKING:
    from ldm_sep.separation.planning import PlannedSong
    from ldm_sep.separation.separator import Separator
    from ldm_sep.separation.sidecar import Settings

_STREAM = Path("-")


def run(choices: Choices, show: Show) -> None:
    """Separate everything. Exit code 1 if anything failed."""
    from ldm_sep.separation.naming import parse_template
    from ldm_sep.separation.planning import plan_songs

    template = parse_template(choices.filename, choices.stems)
    if choices.candidates is not None:
        from ldm_sep.figures import need_matplotlib

        need_matplotlib("--candidates")
    to_stdout = choices.out == _STREAM

    def say(line: str) -> None:
        # Where the samples go to standard output, nothing else may.
        if not choices.quiet:
            typer.echo(shown(line), err=to_stdout)

    with _standard_streams(choices) as (inputs, out):
        work = plan_songs(
            inputs,
            out,
            template,
            choices.stems,
            choices.suffix,
            overwrite=choices.overwrite,
            skip_existing=choices.skip_existing,
        )
        if to_stdout and len(work.songs) != 1:
            raise ConfigError(f"-o -: standard output takes one song, not {len(work.songs)}; name a folder")
        estimates: list[Path | None] = [None] * len(work.songs)
        if choices.estimates is not None:
            from ldm_sep.evaluate.match import match_inputs
            from ldm_sep.separation.given import check_declared

            found = match_inputs([(song.input, song.below) for song in work.songs], choices.estimates)
            check_declared(found, [song.input for song in work.songs])
            estimates = [*found]
        # Only now the heavy imports: mistakes in names and folders are told at once.
        from ldm_sep.separation.separator import Separator

        separator = Separator.load(choices.checkpoint, device=choices.device, codec_weights=choices.codec_weights)
        say(f"device: {separator.device}")
        say(f"checkpoint: {separator.manifest.config.name}")
        # A mistake in the options is told once, not for every song.
        settings = separator.settings(
            choices.options,
            suffix=choices.suffix,
            subtype=choices.subtype,
            bit_rate=choices.bit_rate,
            start=choices.part[0],
            duration=choices.part[1],
        )
        for line in work.unreadable:
            show.line("error", line)
        counts: dict[Outcome, int] = {"separated": 0, "skipped": 0, "failed": 0}
        for number, (song, estimate) in enumerate(zip(work.songs, estimates, strict=True), 1):
            show.begin(number, len(work.songs), shown(song.input.name))
            try:
                written = _song(separator, song, estimate, settings, choices, show)
                outcome: Outcome = "separated" if written else "skipped"
                show.end(outcome)
                if to_stdout:
                    _copy_out(written[0])
                else:
                    for path in written:
                        say(str(path))
            except BaseException as error:
                outcome = "failed"
                show.end(outcome)
                # One bad file does not stop the rest.
                if not isinstance(error, LdmSepError):
                    raise
                show.line("error", str(error))
            counts[outcome] += 1
        say(work.summary(counts["separated"], counts["skipped"], counts["failed"]))
    if counts["failed"] or work.unreadable:
        raise typer.Exit(1)


def _song(
    separator: Separator, song: PlannedSong, estimate: Path | None, settings: Settings, choices: Choices, show: Show
) -> list[Path]:
    """The files that were written for a song; none if they were there already."""
    from ldm_sep.separation.progress import Progress
    from ldm_sep.separation.sidecar import checkpoint_hash, is_made, settings_key
    from ldm_sep.separation.song import hash_of, separate_song

    if choices.preview:
        from ldm_sep.separation.preview import loudest_singing

        start, duration = loudest_singing(separator, song.input)
        settings = settings.model_copy(update={"start": start, "duration": duration})
    sha256 = estimate_sha256 = None
    if choices.skip_existing and not choices.overwrite and song.place.record.is_file():
        sha256 = hash_of(song.input)
        estimate_sha256 = None if estimate is None else hash_of(estimate)
        key = settings_key(sha256, checkpoint_hash(separator.manifest), settings, estimate_sha256)
        if is_made(song.place.record, key, song.place.stems):
            return []
    separate_song(
        separator,
        song.input,
        song.place,
        settings,
        longest=choices.longest,
        progress=Progress(show.at),
        notice=lambda text: show.line("warning", shown(text)),
        called=str(_STREAM) if choices.inputs == [_STREAM] else None,
        sha256=sha256,
        estimate=estimate,
        estimate_sha256=estimate_sha256,
    )
    written = list(song.place.targets.values())
    if choices.candidates is not None:
        written += _compare(separator, song, settings, choices.candidates, show.at)
    return written


def _compare(
    separator: Separator,
    song: PlannedSong,
    settings: Settings,
    count: int,
    tell: Callable[[float, str, float | None], None],
) -> list[Path]:
    """Table and plot of how far candidates lie apart, beside the stems."""
    from ldm_sep.separation.candidates import spread, write_plot, write_table
    from ldm_sep.separation.progress import Progress

    rows = spread(separator, song.input, settings, count, Progress(tell))
    table = song.place.record.with_name(f"{song.place.record.stem}_candidates.csv")
    write_table(rows, table)
    write_plot(rows, table.with_suffix(".png"))
    return [table, table.with_suffix(".png")]


@contextmanager
def _standard_streams(choices: Choices) -> Iterator[tuple[list[Path], Path]]:
    """The inputs and the output folder, files of a temporary folder standing for standard input and output: a song is
    read to its end before any work, and nothing half-made is given away.
    """
    reads, writes = _STREAM in choices.inputs, choices.out == _STREAM
    if reads and len(choices.inputs) > 1:
        raise ConfigError("-: standard input is one song; name it alone")
    if not (reads or writes):
        yield choices.inputs, choices.out
        return
    if reads and sys.stdin.isatty():
        raise AudioError("-: standard input is the terminal; give it a song, as in ldm-sep separate - < SONG")
    with tempfile.TemporaryDirectory(prefix="ldm-sep-") as folder:
        song, out = Path(folder, "stdin"), Path(folder, "out")
        if reads:
            with song.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield [song] if reads else choices.inputs, out if writes else choices.out


def _copy_out(path: Path) -> None:
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise AudioError(
            f"standard output: was closed before the end ({reason(error)}); nothing else is lost"
        ) from None
