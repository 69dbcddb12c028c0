"""Scoring estimates against references: matching, baselines, rows, statistics, tables, figures, report.

Importing this package imports numpy, but neither torch, scipy nor matplotlib.
"""

from ldm_sep.evaluate.baselines import codec_round_trip, irm, karaoke, silence
from ldm_sep.evaluate.match import BASELINES, TrackFiles, extra_files, match_songs, match_tracks, unmatched_references
from ldm_sep.evaluate.published import PUBLISHED, PublishedRow
from ldm_sep.evaluate.rows import Row, track_hash
from ldm_sep.evaluate.run import evaluate, parse_metrics
from ldm_sep.evaluate.summary import Comparison, Failure, Summary, SystemScore

__all__ = [
    "BASELINES",
    "PUBLISHED",
    "Comparison",
    "Failure",
    "PublishedRow",
    "Row",
    "Summary",
    "SystemScore",
    "TrackFiles",
    "codec_round_trip",
    "evaluate",
    "extra_files",
    "irm",
    "karaoke",
    "match_songs",
    "match_tracks",
    "parse_metrics",
    "silence",
    "track_hash",
    "unmatched_references",
]
