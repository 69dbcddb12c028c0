"""The data of a training: the tracks behind ``--data``, their decoded audio, and what is validated on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ldm_sep.build import codec_hop, codec_sample_rate
from ldm_sep.config import Config
from ldm_sep.data.decoded import DecodedAudio
from ldm_sep.data.items import Item, items_of_songs, read_items
from ldm_sep.data.layouts import read_tracks
from ldm_sep.data.synthesis.melody import load_melodies
from ldm_sep.errors import DataError

_VALIDATION_SONGS = 8
_VALIDATION_SECONDS = 5.0


class Sources:
    """The data sets in ``roots`` as ``config`` has them, read once. DataError if one of them cannot be read.

    ``tell`` gets lines about them, ``warn`` those that may be an oversight.
    """

    def __init__(
        self, config: Config, roots: Sequence[Path], tell: Callable[[str], None], warn: Callable[[str], None]
    ) -> None:
        self.config, self.tell, self.warn = config, tell, warn
        self.names = ", ".join(map(str, roots))
        # Paths in a table of items, and the zip of melodies, are relative to the first data set.
        self.folder = roots[0] if roots[0].is_dir() else roots[0].parent
        self.tracks = [track for root in roots for track in read_tracks(config.data.layout, root)]

    def open_decoded(
        self, cache: Path, device: torch.device, progress: Callable[[int, int], None] | None = None
    ) -> DecodedAudio:
        """The decoded training split, kept in ``cache``; ``progress(done, total)`` counts tracks while they are
        decoded. DataError if the split is empty or a file cannot be used.
        """
        data, mix = self.config.data, self.config.mix
        tracks = [t for t in self.tracks if t.split == "train" and (data.speech or not t.spoken)]
        if not tracks:
            raise DataError(f"{self.names}: no track of the training split")
        melodies = []
        if data.melodies is not None and mix.melodic > 0:
            melodies = load_melodies(self.folder / data.melodies, cache, self.tell)
        decoded = DecodedAudio(
            tracks, codec_sample_rate(self.config.codec), cache, device, progress, melodies, self.warn
        )
        tunes = f", {len(melodies)} melodies" if melodies else ""
        vocals, rest = (decoded.seconds(role) / 3600 for role in ("vocals", "accompaniment"))
        self.tell(f"data: {len(tracks)} tracks, {vocals:.2f} h of vocals, {rest:.2f} h of accompaniment{tunes}")
        return decoded

    def items(self, table: Path | None) -> list[Item]:
        """The validation items of ``table``, or else those of the validation songs. DataError if there are none."""
        rate, hop = codec_sample_rate(self.config.codec), codec_hop(self.config.codec)
        if table is not None:
            return read_items(table, self.folder, rate, hop)
        valid = [t for t in self.tracks if t.split == "valid"]
        if not valid:
            self.warn("no track of the validation split; scores are taken on training songs")
            valid = [t for t in self.tracks if t.split == "train"]
        settings = self.config.training or self.config.codec_training
        seconds = settings.seconds if settings else _VALIDATION_SECONDS
        items = items_of_songs(valid, seconds, rate, hop, _VALIDATION_SONGS)
        if not items:
            raise DataError(
                f"{self.names}: no song with vocals and accompaniment to validate on; give a table with --items"
            )
        return items
