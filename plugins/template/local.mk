# plugins/template/: what `vishwamai new' copies: the files for all kinds, and of the files that are
# named for a kind the one that is asked for, which becomes NAME.c.  Installed as it is, built by nobody
# here: t/template.t makes and builds a plugin of every kind from it, and `make installcheck' one against
# the installed tree with pkg-config alone.

templatedir = $(vwdatadir)/template
dist_template_DATA = \
	%D%/Makefile \
	%D%/README.md \
	%D%/attention.c \
	%D%/balance.c \
	%D%/comm.c \
	%D%/device.c \
	%D%/gemm.c \
	%D%/model.c \
	%D%/optimizer.c \
	%D%/pipeline.c \
	%D%/reasoning.c \
	%D%/test.c \
	%D%/tokenizer.c \
	%D%/verifier.c \
	%D%/weights.c
