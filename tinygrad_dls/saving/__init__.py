"""A model, its optimizer and its random generators in one file, from which training goes on to the last bit."""

from tinygrad_dls.saving.resuming import Saved, load, save

__all__ = ["Saved", "load", "save"]
