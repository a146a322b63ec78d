# plugins/template/: what `vishwamai new' copies.  Installed as it is, built by nobody here:
# `make installcheck' builds it against the installed tree with pkg-config alone.

templatedir = $(vwdatadir)/template
dist_template_DATA =
