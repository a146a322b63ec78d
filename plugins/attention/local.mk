# plugins/attention/: components of the kind `attention'.  Makefile.am says how to add one.
