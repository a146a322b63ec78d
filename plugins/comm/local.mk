# plugins/comm/: components of the kind `comm'.  Makefile.am says how to add one.
