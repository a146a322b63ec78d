# plugins/balance/: components of the kind `balance'.  Makefile.am says how to add one.
