"""Work spread over processes that may crash: `work_through` hands jobs to a function and yields what it gives.

Knows nothing of what the work is. Importing it imports nothing but the standard library.
"""

from ldm_sep.workers.pool import work_through

__all__ = ["work_through"]
