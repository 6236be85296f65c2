"""Media as data: what a source offers, what was recorded, what a playout makes of it.  Pure."""
