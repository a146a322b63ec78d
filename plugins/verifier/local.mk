# plugins/verifier/: components of the kind `verifier'.  Makefile.am says how to add one.
