"""Training on arrays in chunks, which are dask's: more data than memory, on threads, processes or machines."""

from tinygrad_dls.training.chunks.fitting import prepare

__all__ = ["prepare"]
