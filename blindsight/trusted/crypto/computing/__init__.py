"""Functions that worker processes run on secrets and pixels: one for each task of `crypto.tasks`."""
