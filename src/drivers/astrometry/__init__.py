"""Where the pixels of a CCD are on the sky, from stars of a reference catalogue."""
