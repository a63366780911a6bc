"""Actions on whole clusters: one file per family of kinds, and one line per kind in `table`."""
