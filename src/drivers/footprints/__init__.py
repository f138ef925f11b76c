"""Where on a coadd there is something, and how many things there are."""
