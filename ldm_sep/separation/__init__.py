"""Separation of waves, streams and files, and the plan of a run over many files."""

from ldm_sep.separation.naming import STEMS, Stem
from ldm_sep.separation.options import Options
from ldm_sep.separation.progress import Cancelled
from ldm_sep.separation.separator import Separator, Stems, separate_file

__all__ = ["STEMS", "Cancelled", "Options", "Separator", "Stem", "Stems", "separate_file"]
