"""A stretch of a song that has been separated, once more from another seed: only the stretch is computed."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import tee
from pathlib import Path

import numpy as np

from ldm_sep.audio import AudioReader, AudioWriter, expected_bytes
from ldm_sep.errors import AudioError
from ldm_sep.files import shown
from ldm_sep.separation.given import DECLARED_TOLERANCE
from ldm_sep.separation.naming import STEMS
from ldm_sep.separation.options import Options
from ldm_sep.separation.outputs import appearing_together, check_room
from ldm_sep.separation.progress import Progress
from ldm_sep.separation.renewal import in_step
from ldm_sep.separation.separator import Separator
from ldm_sep.separation.song import write_stems
from ldm_sep.separation.windowed import BLOCK


def renew_stems(
    separator: Separator, path: Path, before: Path, out: Path, options: Options, progress: Progress
) -> None:
    """Write ``vocals.wav`` and ``instrumental.wav`` of the song at ``path`` into ``out``: those in the folder
    ``before``, with ``options.renewed`` in place of what was there. Both appear together, complete.

    The other ``options`` are those that ``before`` was separated with. It takes the time of the stretches, and to read
    and write the files. AudioError if one cannot be read or written, or ``before`` is not of this song; `Cancelled` if
    the progress callback says so.
    """
    names = [f"{stem}.wav" for stem in STEMS]
    vocals_path, instrumental_path = (before / name for name in names)
    with ExitStack() as stack:
        song = stack.enter_context(AudioReader(path, stereo=True, notice=lambda line: None))
        known = stack.enter_context(AudioReader(vocals_path))
        rate, channels, frames = known.info.sample_rate, known.info.channels, known.info.frames or 0
        declared = song.info.frames
        other = declared is not None and abs(declared - frames) > DECLARED_TOLERANCE * rate
        if other or (song.info.sample_rate, song.info.channels) != (rate, channels):
            raise AudioError(f"{shown(vocals_path)}: is not of {shown(path)}; separate the song again")
        check_room(out, len(names) * expected_bytes(frames, channels, rate, "wav"))
        parts = stack.enter_context(appearing_together(out, names))
        with ExitStack() as writing:
            writers = {
                stem: writing.enter_context(AudioWriter(out / name, rate, channels, into=part))
                for stem, name, part in zip(STEMS, names, parts, strict=True)
            }
            plan = separator.plan(options)
            blocks, vocals = song.blocks(BLOCK), known.blocks(BLOCK)
            if plan.post_filter:
                rest = stack.enter_context(AudioReader(instrumental_path))
                blocks, whole = tee(blocks)
                vocals = _with_unfiltered(vocals, whole, rest.blocks(BLOCK))
            stream = separator.stream_by(plan, blocks, rate, channels, vocals)
            with closing(stream) as stems:
                write_stems(stems, writers, frames, progress)


def _with_unfiltered(
    vocals: Iterator[np.ndarray], song: Iterator[np.ndarray], instrumental: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """Blocks ``(2 C, T)``: below the ``vocals`` what a post-filter made them of, which the ``instrumental`` lacks."""
    for filtered, whole, rest in in_step([vocals, song, instrumental]):
        yield np.concatenate([filtered, whole - rest])
