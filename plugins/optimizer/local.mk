# plugins/optimizer/: components of the kind `optimizer'.  Makefile.am says how to add one.
