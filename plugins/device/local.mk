# plugins/device/: components of the kind `device'.  Makefile.am says how to add one.
