# core/: libvishwamai.  Sources, one line each, in alphabetical order.
#
# libcore.la is the whole library with its internals reachable, for the tests; libvishwamai.la is the
# same objects, exporting exactly the functions that vishwamai.h and schedule.h declare.

noinst_LTLIBRARIES += libcore.la

libcore_la_CFLAGS = $(AM_CFLAGS) -fvisibility=default $(INIH_CFLAGS) $(JANSSON_CFLAGS) \
	$(LIBURING_CFLAGS)
libcore_la_LIBADD = $(INI_LIBS) $(JANSSON_LIBS) $(LIBURING_LIBS)
libcore_la_SOURCES =

lib_LTLIBRARIES += libvishwamai.la
libvishwamai_la_SOURCES =
libvishwamai_la_LIBADD = libcore.la
libvishwamai_la_LDFLAGS = -version-info 0:0:0 -no-undefined -export-symbols core/vishwamai.sym \
	$(ZDEFS_LDFLAGS)
EXTRA_libvishwamai_la_DEPENDENCIES = core/vishwamai.sym

# The names of the functions that the application's headers declare: their declarations begin in the
# first column, which nothing else in them does.
api_headers = $(top_srcdir)/core/include/vishwamai/vishwamai.h \
	$(top_srcdir)/core/include/vishwamai/schedule.h
core/vishwamai.sym: $(api_headers)
	$(AM_V_GEN)$(MKDIR_P) core && $(AWK) \
	  '/^[a-z]/ && !/^(static|typedef|enum|extern)/ && match($$0, /vw_[a-z0-9_]+\(/) \
	  { print substr($$0, RSTART, RLENGTH - 1) }' \
	  $(api_headers) > $@
CLEANFILES += core/vishwamai.sym

# Headers that are installed.  Those that are not go to libcore_la_SOURCES.
vwinclude_HEADERS += \
	%D%/include/vishwamai/attention.h \
	%D%/include/vishwamai/balance.h \
	%D%/include/vishwamai/comm.h \
	%D%/include/vishwamai/device.h \
	%D%/include/vishwamai/dtype.h \
	%D%/include/vishwamai/gemm.h \
	%D%/include/vishwamai/generate.h \
	%D%/include/vishwamai/host.h \
	%D%/include/vishwamai/json.h \
	%D%/include/vishwamai/model.h \
	%D%/include/vishwamai/nn.h \
	%D%/include/vishwamai/optimizer.h \
	%D%/include/vishwamai/option.h \
	%D%/include/vishwamai/pipeline.h \
	%D%/include/vishwamai/plugin.h \
	%D%/include/vishwamai/reasoning.h \
	%D%/include/vishwamai/schedule.h \
	%D%/include/vishwamai/status.h \
	%D%/include/vishwamai/tensor.h \
	%D%/include/vishwamai/tokenizer.h \
	%D%/include/vishwamai/verifier.h \
	%D%/include/vishwamai/vishwamai.h \
	%D%/include/vishwamai/weights.h

# The base: settings, plugins, threads.
libcore_la_SOURCES += \
	%D%/core.c \
	%D%/core.h \
	%D%/cpus.c \
	%D%/cpus.h \
	%D%/examine.c \
	%D%/examine.h \
	%D%/host.c \
	%D%/host.h \
	%D%/ini_reader.c \
	%D%/ini_reader.h \
	%D%/instance.c \
	%D%/instance.h \
	%D%/kind.c \
	%D%/kind.h \
	%D%/loader.c \
	%D%/loader.h \
	%D%/log.c \
	%D%/log.h \
	%D%/memory.c \
	%D%/memory.h \
	%D%/nearest.c \
	%D%/nearest.h \
	%D%/option.c \
	%D%/option.h \
	%D%/places.c \
	%D%/places.h \
	%D%/pool.c \
	%D%/pool.h \
	%D%/problems.c \
	%D%/problems.h \
	%D%/registry.c \
	%D%/registry.h \
	%D%/sections.c \
	%D%/sections.h \
	%D%/settings.c \
	%D%/settings.h \
	%D%/settings_check.c \
	%D%/settings_print.c \
	%D%/settings_read.c \
	%D%/sized.h \
	%D%/status.c \
	%D%/stubs.c \
	%D%/stubs.h \
	%D%/texts.c \
	%D%/texts.h

# JSON: read (json.h), written (json_write.h, which the command compiles in as well).
libcore_la_SOURCES += \
	%D%/json.c \
	%D%/json.h \
	%D%/json_parse.c \
	%D%/json_tree.h \
	%D%/json_write.c \
	%D%/json_write.h

# Training: data, batches, the loop, what it keeps.
libcore_la_SOURCES += \
	%D%/batches.c \
	%D%/batches.h \
	%D%/checkpoint.c \
	%D%/checkpoint.h \
	%D%/checksum.c \
	%D%/checksum.h \
	%D%/dataset.c \
	%D%/dataset.h \
	%D%/dataset_chat.c \
	%D%/dataset_jsonl.c \
	%D%/dataset_line.h \
	%D%/dataset_text.c \
	%D%/dataset_tokens.c \
	%D%/metrics.c \
	%D%/metrics.h \
	%D%/permutation.c \
	%D%/permutation.h \
	%D%/profile.c \
	%D%/profile.h \
	%D%/tokenizer_train.c \
	%D%/train_rules.c \
	%D%/train_rules.h \
	%D%/teacher_store.c \
	%D%/teacher_store.h \
	%D%/trainer.c \
	%D%/trainer.h \
	%D%/trainer_cache.c \
	%D%/trainer_data.c \
	%D%/trainer_distil.c %D%/trainer_loads.c \
	%D%/nn_match.c %D%/nn_profile.c %D%/trainee_match.c \
	%D%/trainer_run.c \
	%D%/trainer_save.c \
	%D%/trainer_step.c

# The engine: models, sequences, text.
libcore_la_SOURCES += \
	%D%/adapter.c \
	%D%/draft.c \
	%D%/draft.h \
	%D%/engine.c \
	%D%/engine.h \
	%D%/experts.c \
	%D%/disk.c \
	%D%/disk.h \
	%D%/disk_ring.c \
	%D%/disk_ring.h \
	%D%/expert_cache.c \
	%D%/expert_cache.h \
	%D%/expert_layout.c \
	%D%/expert_layout.h \
	%D%/feed.c \
	%D%/forward.c \
	%D%/forward.h \
	%D%/generate.c \
	%D%/generate_service.c \
	%D%/generate_service.h \
	%D%/kv.c \
	%D%/nn.c \
	%D%/nn_attention.c \
	%D%/nn_head.c \
	%D%/nn_heads.c \
	%D%/nn_moe.c \
	%D%/nn_moe.h \
	%D%/nn_moe_adapt.c \
	%D%/nn_moe_group.c \
	%D%/nn_pointwise.c \
	%D%/nn_product.c \
	%D%/params.c \
	%D%/plans.c \
	%D%/sampling.c \
	%D%/sampling.h \
	%D%/stored.c \
	%D%/stored.h \
	%D%/text.c \
	%D%/text.h

# Training: a model with gradients, and the loop around it.
libcore_la_SOURCES += \
	%D%/lora.c \
	%D%/tape.c \
	%D%/tape.h \
	%D%/tape_run.c \
	%D%/trainee.c \
	%D%/trainee.h \
	%D%/trainee_experts.c \
	%D%/trainee_params.c \
	%D%/trainee_run.c \
	%D%/trainee_save.c \
	%D%/trainee_scaling.c \
	%D%/training.h

# Conversion of checkpoints.
libcore_la_SOURCES += \
	%D%/convert.c \
	%D%/convert.h \
	%D%/convert_config.c \
	%D%/convert_gguf.c \
	%D%/convert_item.c \
	%D%/quantise.c \
	%D%/quantise.h

# Pipeline schedules: asked for, checked, timed.
libcore_la_SOURCES += \
	%D%/schedule.c \
	%D%/schedule_run.c \
	%D%/schedule_run.h \
	%D%/schedule_simulate.c
