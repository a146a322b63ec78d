# t/: the tests.  C tests are check_PROGRAMS t/NAME.t from t/NAME.c; script tests are t/NAME.t with a
# first line #!/usr/bin/perl or #!/bin/sh and stand in script_tests.  All speak TAP and all are run by
# `make check', by `make prove', and by `prove t/' inside the build folder, with the environment of
# t/run.  C tests link libtap and libcore unless they give their own LDADD.

check_LTLIBRARIES += t/tap/libtap.la
t_tap_libtap_la_SOURCES = t/tap/tap.c t/tap/tap.h
t_tap_libtap_la_LIBADD = -lm -lpthread

# A stand-in for the core: what a test of plugins links instead of libcore.
check_LTLIBRARIES += t/libmock.la
t_libmock_la_SOURCES = t/mock_host.c t/mock_host.h t/mock_plugins.c \
	t/with_device.c t/with_device.h t/with_device_attention.c t/with_device_gemm.c
MOCK_LIBS = t/libmock.la t/tap/libtap.la

# ---- the project's own rules ----------------------------------------------------------------
check_PROGRAMS += t/tap.t
t_tap_t_SOURCES = t/tap.c
script_tests += t/configure-core.t t/headers.t t/layers.t t/symbols.t

# ---- core: error, log, options, settings, loader, tensors, threads, nn -------------------------
check_PROGRAMS += t/loader.t t/option.t t/pool.t t/settings.t
t_loader_t_SOURCES = t/loader.c
t_option_t_SOURCES = t/option.c
t_pool_t_SOURCES = t/pool.c
t_settings_t_SOURCES = t/settings.c
script_tests += t/template.t

# ---- broken plugins, bad INI files (t/bad, t/ini) ----------------------------------------------
# A plugin for a test is a check_LTLIBRARIES with -module $(BAD_LDFLAGS) in its LDFLAGS; it lies in
# t/bad/.libs of the build folder.
include t/bad/local.mk

# ---- what every plugin of a kind must pass -----------------------------------------------------
# Installed, for plugins that are written elsewhere: those that need no file of the sources, and find
# words for an operation that a plugin leaves out, which kind-device.t does not.
conformancedir = $(libexecdir)/vishwamai
conformance_PROGRAMS = t/kind-attention.t t/kind-balance.t t/kind-comm.t t/kind-gemm.t \
	t/kind-optimizer.t t/kind-pipeline.t t/kind-reasoning.t t/kind-verifier.t t/kind-weights.t

# ---- gemm --------------------------------------------------------------------------------------
check_PROGRAMS += t/gemm-kernels.t
t_gemm_kernels_t_SOURCES = t/gemm-kernels.c t/gemm-check.c t/gemm-check-blocks.c t/gemm-check.h
t_gemm_kernels_t_LDADD = t/tap/libtap.la libkernels_cpu.la libkernels_ref.la -lm
# The 512-bit kernels by emulation; what is emulated takes long to compile and little to run.
EMULATED_CPPFLAGS = $(AM_CPPFLAGS) -DVW_EMULATE_AVX512='"t/emulate-avx512.h"' \
	-DVMATH_LANES=16
EMULATED_CFLAGS = $(AM_CFLAGS) -O1 -Wno-psabi
check_LTLIBRARIES += t/libemulated.la t/libemulated_vnni.la
t_libemulated_la_SOURCES = $(GEMM_KERNELS)
t_libemulated_la_CPPFLAGS = $(EMULATED_CPPFLAGS) -DVW_ISA=emulated
t_libemulated_la_CFLAGS = $(EMULATED_CFLAGS)
t_libemulated_vnni_la_SOURCES = $(GEMM_S8_KERNELS)
t_libemulated_vnni_la_CPPFLAGS = $(EMULATED_CPPFLAGS) -DVW_EMULATE_VNNI \
	-DVW_ISA=emulated_vnni -DVW_ISA_SHARED=emulated
t_libemulated_vnni_la_CFLAGS = $(EMULATED_CFLAGS)
check_PROGRAMS += t/gemm-emulated.t
t_gemm_emulated_t_SOURCES = t/gemm-emulated.c t/emulate-avx512.h t/gemm-check.c t/gemm-check-blocks.c t/gemm-check.h
t_gemm_emulated_t_CPPFLAGS = $(EMULATED_CPPFLAGS) -DVW_ISA=emulated
t_gemm_emulated_t_CFLAGS = $(EMULATED_CFLAGS)
t_gemm_emulated_t_LDADD = t/libemulated_vnni.la t/libemulated.la t/tap/libtap.la \
	libkernels_cpu.la libkernels_ref.la -lm
check_PROGRAMS += t/gemm-gradient.t
t_gemm_gradient_t_SOURCES = t/gemm-gradient.c
t_gemm_gradient_t_LDADD = $(MOCK_LIBS) -lm
t_kind_gemm_t_SOURCES = t/kind-gemm.c t/gemm-case.c t/gemm-case.h t/gemm-groups.c t/gemm-plans.c \
	t/gemm-product.c t/gemm-product.h
t_kind_gemm_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm

# ---- attention and device ----------------------------------------------------------------------
check_PROGRAMS += t/kind-device.t
t_kind_device_t_SOURCES = t/kind-device.c t/device-case.c t/device-case.h
t_kind_device_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm
check_PROGRAMS += t/gradient-formulas.t t/device-backward.t t/device-loss.t t/device-experts.t
t_gradient_formulas_t_SOURCES = t/gradient-formulas.c
t_gradient_formulas_t_LDADD = libkernels_ref.la t/tap/libtap.la -lm
t_device_backward_t_SOURCES = t/device-backward.c t/device-case.c t/device-case.h
t_device_backward_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm
t_device_loss_t_SOURCES = t/device-loss.c t/device-case.c t/device-case.h
t_device_loss_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm
t_device_experts_t_SOURCES = t/device-experts.c t/device-case.c t/device-case.h
t_device_experts_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm
check_PROGRAMS += t/device-sampling.t
t_device_sampling_t_SOURCES = t/device-sampling.c t/device-case.c t/device-case.h
t_device_sampling_t_LDADD = $(MOCK_LIBS) -lm
t_kind_attention_t_SOURCES = t/kind-attention.c t/attention-case.c t/attention-case.h
t_kind_attention_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm
check_PROGRAMS += t/attention-gradient.t
t_attention_gradient_t_SOURCES = t/attention-gradient.c t/attention-case.c t/attention-case.h
t_attention_gradient_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm
check_PROGRAMS += t/attention-exact.t
t_attention_exact_t_SOURCES = t/attention-exact.c t/attention-case.c t/attention-case.h
t_attention_exact_t_LDADD = libkernels_ref.la $(MOCK_LIBS) -lm

# The kernels one by one, and once more with 512-bit vectors that the compiler splits.
check_LTLIBRARIES += t/libwide.la
t_libwide_la_SOURCES = kernels/cpu/attention-dense.c kernels/cpu/attention-flash.c \
	kernels/cpu/attention-load.c kernels/cpu/gradient.c kernels/cpu/pointwise.c
t_libwide_la_CFLAGS = $(KERNEL_CFLAGS) -DVW_ISA=wide -DVMATH_LANES=16
check_PROGRAMS += t/attention-kernels.t
t_attention_kernels_t_SOURCES = t/attention-kernels.c
t_attention_kernels_t_LDADD = t/libwide.la libkernels_cpu.la libkernels_ref.la t/tap/libtap.la -lm

# ---- cuda, without a device --------------------------------------------------------------------
include t/cuda-sim/local.mk

# ---- tokenizer and weights ---------------------------------------------------------------------
check_PROGRAMS += t/json.t
t_json_t_SOURCES = t/json.c t/folder.c t/folder.h
check_PROGRAMS += t/kind-model.t
t_kind_model_t_SOURCES = t/kind-model.c
t_kind_model_t_LDADD = $(MOCK_LIBS) libcore.la -lpthread
t_kind_weights_t_SOURCES = t/kind-weights.c t/folder.c
t_kind_weights_t_LDADD = $(MOCK_LIBS) libcore.la -lpthread
check_PROGRAMS += t/safetensors.t
t_safetensors_t_SOURCES = t/safetensors.c t/folder.c
t_safetensors_t_LDADD = $(MOCK_LIBS) libcore.la
check_PROGRAMS += t/pickle.t
t_pickle_t_SOURCES = t/pickle.c plugins/weights/pickle.c t/with_engine.c t/folder.c
check_PROGRAMS += t/kind-tokenizer.t
t_kind_tokenizer_t_SOURCES = t/kind-tokenizer.c t/folder.c
t_kind_tokenizer_t_LDADD = $(MOCK_LIBS) libcore.la -lpthread
check_PROGRAMS += t/chars.t
t_chars_t_SOURCES = t/chars.c t/folder.c
t_chars_t_LDADD = $(MOCK_LIBS) libcore.la
check_PROGRAMS += t/sentencepiece.t
t_sentencepiece_t_SOURCES = t/sentencepiece.c t/spm_builder.c t/spm_builder.h t/folder.c
t_sentencepiece_t_LDADD = $(MOCK_LIBS) libcore.la -lm
check_PROGRAMS += t/bpe.t
t_bpe_t_SOURCES = t/bpe.c t/folder.c
t_bpe_t_LDADD = $(MOCK_LIBS) libcore.la

# ---- models and engine -------------------------------------------------------------------------
check_PROGRAMS += t/checkpoints.t t/engine.t t/engine-generate.t t/golden-gemma.t
t_checkpoints_t_SOURCES = t/checkpoints.c t/with_engine.c t/with_engine.h
ENGINE_CASE = t/engine-case.c t/engine-case.h t/with_engine.c t/with_engine.h
t_engine_t_SOURCES = t/engine.c $(ENGINE_CASE)
t_engine_generate_t_SOURCES = t/engine-generate.c $(ENGINE_CASE)
check_PROGRAMS += t/sized.t
t_sized_t_SOURCES = t/sized.c t/with_engine.c t/with_engine.h
GOLDEN = t/golden.c t/golden.h t/with_engine.c t/with_engine.h
t_golden_gemma_t_SOURCES = t/golden-gemma.c $(GOLDEN)
check_PROGRAMS += t/golden-deepseek.t
GOLDEN_CONFIG = $(GOLDEN) t/golden-config.c t/golden-config.h t/folder.c t/folder.h
t_golden_deepseek_t_SOURCES = t/golden-deepseek.c $(GOLDEN_CONFIG)
check_PROGRAMS += t/golden-grok.t
t_golden_grok_t_SOURCES = t/golden-grok.c $(GOLDEN_CONFIG)

check_PROGRAMS += t/disk.t t/expert-cache.t
t_disk_t_SOURCES = t/disk.c t/folder.c
t_expert_cache_t_SOURCES = t/expert-cache.c t/with_engine.c t/with_engine.h t/folder.c
check_PROGRAMS += t/models.t
t_models_t_SOURCES = t/models.c t/with_engine.c t/with_engine.h t/folder.c
check_PROGRAMS += t/gguf-deepseek.t
t_gguf_deepseek_t_SOURCES = t/gguf-deepseek.c t/with_engine.c t/with_engine.h t/folder.c
check_PROGRAMS += t/gguf.t
t_gguf_t_SOURCES = t/gguf.c t/with_engine.c t/with_engine.h t/folder.c
t_gguf_t_LDADD = libkernels_ref.la $(MOCK_LIBS) libcore.la -lm
check_PROGRAMS += t/quantise.t
t_quantise_t_SOURCES = t/quantise.c
t_quantise_t_LDADD = libkernels_ref.la t/tap/libtap.la libcore.la -lm

# Real names and shapes with holes for data: a part in the suite, all of it here.
FULLSIZE_MODELS = deepseek-v3 grok-1 grok-1-keyfan
script_tests += t/fullsize.t
EXTRA_DIST += t/fullsize/check t/fullsize/deepseek-v3.json t/fullsize/deepseek-v3.txt \
	t/fullsize/grok-1.txt t/fullsize/grok-1-keyfan.json t/fullsize/grok-1-keyfan.txt
.PHONY: check-fullsize
check-fullsize: all
	$(SHELL) t/run $(top_srcdir)/t/fullsize/check $(FULLSIZE_MODELS)

# Planted errors: every one that t/mutations lists for a family must be noticed by its golden test.
MUTATED_FAMILIES = deepseek gemma grok
EXTRA_DIST += t/mutations/check t/mutations/deepseek.tsv t/mutations/gemma.tsv t/mutations/grok.tsv
.PHONY: check-mutations
check-mutations: all $(MUTATED_FAMILIES:%=t/golden-%.t)
	$(SHELL) t/run $(top_srcdir)/t/mutations/check $(MUTATED_FAMILIES)

# ---- training ----------------------------------------------------------------------------------
check_PROGRAMS += t/golden-training.t t/tape.t t/teacher-store.t t/trainee.t t/trainee-adapt.t t/trainee-match.t \
	t/trainee-model.t t/trainee-peft.t
TRAINEE = t/folder.c t/with_engine.c t/with_trainee.c t/with_trainee.h
t_trainee_adapt_t_SOURCES = t/trainee-adapt.c $(TRAINEE)
t_trainee_match_t_SOURCES = t/trainee-match.c $(TRAINEE)
t_trainee_model_t_SOURCES = t/trainee-model.c $(TRAINEE)
t_trainee_peft_t_SOURCES = t/trainee-peft.c $(TRAINEE)
t_tape_t_SOURCES = t/tape.c $(TRAINEE)
t_teacher_store_t_SOURCES = t/teacher-store.c $(TRAINEE)
t_trainee_t_SOURCES = t/trainee.c $(TRAINEE)
t_golden_training_t_SOURCES = t/golden-training.c $(TRAINEE)

# ---- the command -------------------------------------------------------------------------------
script_tests += t/cli-balance.t t/cli-bench.t t/cli-chat.t t/cli-chat-deepseek.t t/cli-convert.t \
	t/cli-distill.t t/cli-eval.t t/cli-help.t t/cli-inspect.t t/cli-interrupt.t t/cli-logits.t t/cli-matrix.t \
	t/cli-perplexity.t t/cli-run.t t/cli-schedule.t t/cli-tokenize.t t/cli-train.t
EXTRA_DIST += t/lib/Command.pm
EXTRA_DIST += t/gpu-check t/gpu/jansson.h
check_PROGRAMS += t/svg.t
t_svg_t_SOURCES = t/svg.c core/tools/svg.c core/tools/svg.h core/tools/save.c core/tools/save.h
check_PROGRAMS += t/eval-match.t
t_eval_match_t_SOURCES = t/eval-match.c core/tools/eval_match.c core/tools/eval_task.h

# ---- training ----------------------------------------------------------------------------------
check_PROGRAMS += t/train-rules.t t/dataset.t t/trainer.t t/trainer-bad.t
t_trainer_t_SOURCES = t/trainer.c $(TRAINER)
t_trainer_bad_t_SOURCES = t/trainer-bad.c $(TRAINER)
TRAINER = t/trainee-linear.c t/trainee-linear.h t/with_trainer.c t/with_trainer.h t/folder.c
t_train_rules_t_SOURCES = t/train-rules.c t/folder.c
t_dataset_t_SOURCES = t/dataset.c t/folder.c
t_dataset_t_LDADD = $(MOCK_LIBS) libcore.la

# ---- small kinds: comm, balance, pipeline, optimizer, verifier, reasoning ----------------------
t_kind_comm_t_SOURCES = t/kind-comm.c
t_kind_comm_t_LDADD = $(MOCK_LIBS)
t_kind_balance_t_SOURCES = t/kind-balance.c t/balance-refusals.c t/balance-refusals.h
t_kind_balance_t_LDADD = $(MOCK_LIBS)
check_PROGRAMS += t/balance-eplb.t t/balance-vishwamai.t t/balance-split.t
t_balance_eplb_t_SOURCES = t/balance-eplb.c t/balance-case.c t/balance-case.h
t_balance_eplb_t_LDADD = $(MOCK_LIBS)
t_balance_split_t_SOURCES = t/balance-split.c t/balance-case.c t/balance-case.h
t_balance_split_t_LDADD = $(MOCK_LIBS)
t_balance_vishwamai_t_SOURCES = t/balance-vishwamai.c t/balance-case.c t/balance-case.h
t_balance_vishwamai_t_LDADD = $(MOCK_LIBS)
t_kind_pipeline_t_SOURCES = t/kind-pipeline.c
t_kind_pipeline_t_LDADD = $(MOCK_LIBS) libcore.la
check_PROGRAMS += t/schedules.t t/schedule-check.t t/schedule-search.t t/schedule-times.t
t_schedules_t_SOURCES = t/schedules.c t/schedule-case.c t/schedule-case.h
t_schedules_t_LDADD = $(MOCK_LIBS) libcore.la -lm
t_schedule_search_t_SOURCES = t/schedule-search.c t/schedule-case.c t/schedule-case.h
t_schedule_search_t_LDADD = $(MOCK_LIBS) libcore.la -lm
t_schedule_times_t_SOURCES = t/schedule-times.c t/schedule-case.c t/schedule-case.h
t_schedule_times_t_LDADD = $(MOCK_LIBS) libcore.la -lm
t_schedule_check_t_SOURCES = t/schedule-check.c
t_kind_optimizer_t_SOURCES = t/kind-optimizer.c
t_kind_optimizer_t_LDADD = $(MOCK_LIBS)
t_kind_verifier_t_SOURCES = t/kind-verifier.c
t_kind_verifier_t_LDADD = $(MOCK_LIBS)
t_kind_reasoning_t_SOURCES = t/kind-reasoning.c
t_kind_reasoning_t_LDADD = $(MOCK_LIBS)

# ---- fuzz targets ------------------------------------------------------------------------------
# t/fuzz/NAME.c defines LLVMFuzzerTestOneInput(); its corpus is t/fuzz/corpus/NAME/.  Every target is
# two programs: the test that replays the corpus anywhere, and with --enable-fuzzing the fuzzer.
#
#   check_PROGRAMS += t/fuzz-NAME.t
#   t_fuzz_NAME_t_SOURCES = t/fuzz/NAME.c t/fuzz/replay.c
#   fuzzers += t/fuzz/NAME
#   t_fuzz_NAME_SOURCES = t/fuzz/NAME.c
#   t_fuzz_NAME_LDFLAGS = $(FUZZ_LDFLAGS)
fuzzers =

check_PROGRAMS += t/fuzz-ini.t
t_fuzz_ini_t_SOURCES = t/fuzz/ini.c t/fuzz/replay.c
fuzzers += t/fuzz/ini
t_fuzz_ini_SOURCES = t/fuzz/ini.c
t_fuzz_ini_LDFLAGS = $(FUZZ_LDFLAGS)

FUZZ_CONFIG = t/fuzz/config.c $(DEEPSEEK) $(GEMMA) $(GGUF_KEYS) \
	$(model_grok_la_SOURCES) $(model_vishwamai_la_SOURCES)
check_PROGRAMS += t/fuzz-config.t
t_fuzz_config_t_SOURCES = $(FUZZ_CONFIG) t/fuzz/replay.c
t_fuzz_config_t_LDADD = $(MOCK_LIBS) libcore.la
fuzzers += t/fuzz/config
t_fuzz_config_SOURCES = $(FUZZ_CONFIG)
t_fuzz_config_LDADD = $(MOCK_LIBS) libcore.la
t_fuzz_config_LDFLAGS = $(FUZZ_LDFLAGS)

check_PROGRAMS += t/fuzz-json.t
t_fuzz_json_t_SOURCES = t/fuzz/json.c t/fuzz/replay.c
fuzzers += t/fuzz/json
t_fuzz_json_SOURCES = t/fuzz/json.c
t_fuzz_json_LDFLAGS = $(FUZZ_LDFLAGS)

FUZZ_WEIGHTS = t/fuzz/safetensors.c t/folder.c $(weights_safetensors_la_SOURCES)
check_PROGRAMS += t/fuzz-safetensors.t
t_fuzz_safetensors_t_SOURCES = $(FUZZ_WEIGHTS) t/fuzz/replay.c
t_fuzz_safetensors_t_LDADD = $(MOCK_LIBS) libcore.la
fuzzers += t/fuzz/safetensors
t_fuzz_safetensors_SOURCES = $(FUZZ_WEIGHTS)
t_fuzz_safetensors_LDADD = $(MOCK_LIBS) libcore.la
t_fuzz_safetensors_LDFLAGS = $(FUZZ_LDFLAGS)

FUZZ_TOKENIZER_USE = t/fuzz/tokenizer_use.c t/fuzz/tokenizer_use.h t/folder.c
if WITH_SENTENCEPIECE
FUZZ_TOKENIZER = t/fuzz/tokenizer.c $(FUZZ_TOKENIZER_USE) $(tokenizer_sentencepiece_la_SOURCES)
check_PROGRAMS += t/fuzz-tokenizer.t
t_fuzz_tokenizer_t_SOURCES = $(FUZZ_TOKENIZER) t/fuzz/replay.c
t_fuzz_tokenizer_t_CXXFLAGS = $(AM_CXXFLAGS) $(SENTENCEPIECE_CFLAGS)
t_fuzz_tokenizer_t_LDADD = $(MOCK_LIBS) libcore.la $(SENTENCEPIECE_LIBS)
fuzzers += t/fuzz/tokenizer
t_fuzz_tokenizer_SOURCES = $(FUZZ_TOKENIZER)
t_fuzz_tokenizer_CXXFLAGS = $(AM_CXXFLAGS) $(SENTENCEPIECE_CFLAGS)
t_fuzz_tokenizer_LDADD = $(MOCK_LIBS) libcore.la $(SENTENCEPIECE_LIBS)
t_fuzz_tokenizer_LDFLAGS = $(FUZZ_LDFLAGS)
endif

if WITH_PCRE2
FUZZ_BPE = t/fuzz/bpe.c $(FUZZ_TOKENIZER_USE) $(tokenizer_bpe_la_SOURCES)
check_PROGRAMS += t/fuzz-bpe.t
t_fuzz_bpe_t_SOURCES = $(FUZZ_BPE) t/fuzz/replay.c
t_fuzz_bpe_t_CFLAGS = $(AM_CFLAGS) $(BPE_CFLAGS)
t_fuzz_bpe_t_LDADD = $(MOCK_LIBS) libcore.la $(BPE_LIBS)
fuzzers += t/fuzz/bpe
t_fuzz_bpe_SOURCES = $(FUZZ_BPE)
t_fuzz_bpe_CFLAGS = $(AM_CFLAGS) $(BPE_CFLAGS)
t_fuzz_bpe_LDADD = $(MOCK_LIBS) libcore.la $(BPE_LIBS)
t_fuzz_bpe_LDFLAGS = $(FUZZ_LDFLAGS)
endif

FUZZ_BALANCE = t/fuzz/balance.c t/folder.c core/tools/balance_input.c core/tools/input.c
check_PROGRAMS += t/fuzz-balance.t
t_fuzz_balance_t_SOURCES = $(FUZZ_BALANCE) t/fuzz/replay.c
fuzzers += t/fuzz/balance
t_fuzz_balance_SOURCES = $(FUZZ_BALANCE)
t_fuzz_balance_LDFLAGS = $(FUZZ_LDFLAGS)

FUZZ_GGUF = t/fuzz/gguf.c t/folder.c $(weights_gguf_la_SOURCES)
check_PROGRAMS += t/fuzz-gguf.t
t_fuzz_gguf_t_SOURCES = $(FUZZ_GGUF) t/fuzz/replay.c
t_fuzz_gguf_t_LDADD = $(MOCK_LIBS) libcore.la libkernels_ref.la
fuzzers += t/fuzz/gguf
t_fuzz_gguf_SOURCES = $(FUZZ_GGUF)
t_fuzz_gguf_LDADD = $(MOCK_LIBS) libcore.la libkernels_ref.la
t_fuzz_gguf_LDFLAGS = $(FUZZ_LDFLAGS)

check_PROGRAMS += t/fuzz-pickle.t
t_fuzz_pickle_t_SOURCES = t/fuzz/pickle.c plugins/weights/pickle.c t/fuzz/replay.c
fuzzers += t/fuzz/pickle
t_fuzz_pickle_SOURCES = t/fuzz/pickle.c plugins/weights/pickle.c
t_fuzz_pickle_LDFLAGS = $(FUZZ_LDFLAGS)

# ---- documentation -----------------------------------------------------------------------------
script_tests += t/man.t t/readme.t

# ================================================================================================
# Below: how they are run.

EXTRA_PROGRAMS += $(fuzzers)
EXTRA_DIST += $(script_tests) t/proverc.in t/fuzz/replay.c
# Folders of files that tests read: they travel whole.
EXTRA_DIST += t/data $(wildcard $(srcdir)/t/ini $(srcdir)/t/fuzz/corpus)
CLEANFILES += t/scripts.stamp $(fuzzers)
DISTCLEANFILES += .proverc

TESTS = $(check_PROGRAMS) $(conformance_PROGRAMS) $(script_tests)
TEST_EXTENSIONS = .t
T_LOG_COMPILER = $(abs_top_builddir)/t/run
T_LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/etc/build-aux/tap-driver.sh

# A build folder apart from the sources gets links to the script tests, so that `prove t/' there
# finds every test.
check_DATA = t/scripts.stamp
t/scripts.stamp: Makefile
	@for t in $(script_tests); do \
	  test -f $$t || ln -s $(abs_top_srcdir)/$$t $$t || exit 1; \
	done
	@touch $@
clean-script-links:
	@for t in $(script_tests); do test ! -h $$t || rm -f $$t; done

# Everything that the tests need, built and not run; after `all', which is a make of its own and under
# -j would build the same objects at the same time.
check-programs: all
	@$(MAKE) $(AM_MAKEFLAGS) $(check_LTLIBRARIES) $(check_PROGRAMS) $(check_DATA)

# make prove [PROVEFLAGS=-v]: the same tests under prove, with its closing words.  --directives shows
# every skipped assertion with its reason.
PROVEFLAGS = --directives
.PHONY: prove check-programs check-asan check-tsan check-valgrind fuzz clean-script-links
prove: check-programs
	@$(PROVE) --exec $(abs_top_builddir)/t/run $(PROVEFLAGS) $(sort $(TESTS))

# After `make install': is the installed tree enough to write a plugin and a program?
EXTRA_DIST += t/installed
installcheck-local:
	@INSTALLED_BIN=$(bindir) PKG_CONFIG_PATH=$(pkgconfigdir) CC='$(CC)' top_srcdir=$(top_srcdir) \
	  $(PROVE) --exec $(SHELL) $(top_srcdir)/t/installed

# Long checks.  The first two configure a build folder of their own inside this one; without oneDNN
# there, since LeakSanitizer dies of a signal of its own on what that library's threads leave behind.
check-asan:
	@$(MAKE) check-in-subdir SUBDIR=asan \
	  SUBFLAGS='--enable-sanitizers=address,undefined --with-onednn=no'
check-tsan:
	@$(MAKE) check-in-subdir SUBDIR=tsan SUBFLAGS='--enable-sanitizers=thread --with-onednn=no'
check-in-subdir:
	@test "$(srcdir)" != . || { \
	  echo "this needs a build folder apart from the sources: make distclean, then configure elsewhere" >&2; \
	  exit 1; }
	$(MKDIR_P) $(SUBDIR)
	cd $(SUBDIR) && { test -f Makefile || $(abs_top_srcdir)/configure $(SUBFLAGS) $(SUBCONFIGURE); }
	cd $(SUBDIR) && $(MAKE) $(SUBTARGET)
SUBTARGET = prove
SUBCONFIGURE =

# A training run is killed twenty times at random moments; `make check' does it four times.
.PHONY: check-kill
check-kill: check-programs
	@VW_KILLS=20 $(PROVE) --exec $(abs_top_builddir)/t/run -v t/cli-train.t

# Valgrind shows no AVX-512 to the program, which then takes its AVX2 code.
check-valgrind: check-programs
	@VW_VALGRIND=1 $(PROVE) --exec $(abs_top_builddir)/t/run $(PROVEFLAGS) \
	  $(sort $(check_PROGRAMS) $(conformance_PROGRAMS))

# make fuzz [FUZZ_SECONDS=600]: every fuzzer for ten minutes, from a copy of its corpus.
FUZZ_SECONDS = 600
fuzz:
	@$(MAKE) check-in-subdir SUBDIR=fuzzing SUBTARGET=run-fuzzers \
	  SUBFLAGS='--enable-fuzzing --enable-sanitizers=address,undefined CC=clang CXX=clang++'
run-fuzzers: all $(fuzzers)
	@for f in $(fuzzers); do \
	  name=`basename $$f`; \
	  echo "== $$name"; \
	  $(MKDIR_P) t/fuzz/corpus/$$name || exit 1; \
	  seeds=$(abs_top_srcdir)/t/fuzz/corpus/$$name; \
	  test -d $$seeds || seeds=; \
	  t/run $$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	    t/fuzz/corpus/$$name $$seeds || exit 1; \
	done
.PHONY: check-in-subdir run-fuzzers
