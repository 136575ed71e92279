"""Where a model or a loss may read a number from: the table `KINDS`, which the modules of this folder fill."""

from tests.compiler.stale_values import arrays, containers, library, objects, protocols, variables, world
from tests.compiler.stale_values.table import KINDS, LIVE, MOVING, put_back

__all__ = ["KINDS", "LIVE", "MOVING", "put_back"]
FILLED_BY = arrays, containers, library, objects, protocols, variables, world
