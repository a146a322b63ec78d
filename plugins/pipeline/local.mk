# plugins/pipeline/: components of the kind `pipeline'.  Makefile.am says how to add one.
