# core/tools/: the vishwamai command, one file a subcommand.  It sees the public API only, and the
# JSON writer, which is compiled in.

bin_PROGRAMS += vishwamai
vishwamai_SOURCES = \
	%D%/answer.c \
	%D%/answer.h \
	%D%/balance.c \
	%D%/balance_draw.c \
	%D%/balance_input.c \
	%D%/balance_job.h \
	%D%/balance_result.c \
	%D%/bench.c \
	%D%/bench.h \
	%D%/bench_attention.c \
	%D%/bench_attention_case.c \
	%D%/bench_attention_case.h \
	%D%/bench_device.c \
	%D%/bench_gemm.c \
	%D%/bench_gemm_blocks.c \
	%D%/bench_gemm_case.c \
	%D%/bench_gemm_case.h \
	%D%/bench_model.c \
	%D%/bench_process.c \
	%D%/bench_process.h \
	%D%/bench_race.c \
	%D%/ceiling.c \
	%D%/ceiling.h \
	%D%/ceiling_loops.c \
	%D%/ceiling_loops.h \
	%D%/chat.c \
	%D%/check.c \
	%D%/command.h \
	%D%/config.c \
	%D%/convert.c \
	%D%/eval.c \
	%D%/eval_match.c \
	%D%/eval_task.c \
	%D%/eval_task.h \
	%D%/input.c \
	%D%/input.h \
	%D%/inspect.c \
	%D%/inspect.h \
	%D%/inspect_memory.c \
	%D%/inspect_one.c \
	%D%/interrupt.c \
	%D%/interrupt.h \
	%D%/logits.c \
	%D%/main.c \
	%D%/models.c \
	%D%/models.h \
	%D%/new.c \
	%D%/opened.c \
	%D%/opened.h \
	%D%/options.c \
	%D%/options.h \
	%D%/perplexity.c \
	%D%/progress.c \
	%D%/progress.h \
	%D%/run.c \
	%D%/runs.c \
	%D%/runs.h \
	%D%/runs_plot.c \
	%D%/runs_read.c \
	%D%/save.c \
	%D%/save.h \
	%D%/schedule.c \
	%D%/schedule.h \
	%D%/schedule_get.c \
	%D%/schedule_svg.c \
	%D%/schedule_timeline.c \
	%D%/svg.c \
	%D%/svg.h \
	%D%/tokenize.c \
	%D%/train.c \
	%D%/transcript.c \
	%D%/transcript.h \
	core/json_write.c \
	core/nearest.c
vishwamai_CFLAGS = $(AM_CFLAGS)
vishwamai_LDADD = libvishwamai.la
EXTRA_DIST += %D%/README.md
