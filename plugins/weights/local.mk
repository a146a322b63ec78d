# plugins/weights/: components of the kind `weights'.  Makefile.am says how to add one.
