"""A catalogue: very many songs through one recipe, on one machine or many, each exactly once."""

from ldm_sep.catalogue.journal import Shard
from ldm_sep.catalogue.recipe import make_recipe
from ldm_sep.catalogue.rows import Recipe, Row
from ldm_sep.catalogue.run import catalogue, local_engine
from ldm_sep.catalogue.tally import Tally

__all__ = ["Recipe", "Row", "Shard", "Tally", "catalogue", "local_engine", "make_recipe"]
