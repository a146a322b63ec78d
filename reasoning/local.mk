# reasoning/: methods, one folder each, built as plugins of the kind `reasoning' (reasoning_direct.la).
