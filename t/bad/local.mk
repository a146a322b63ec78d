# t/bad/: plugins for the tests of loader and settings, most of them broken on purpose, each in one way.
# A plugin's source has its name, so none is listed.
bad_plugins = \
	t/bad/balance_elsewhere.la \
	t/bad/balance_high.la \
	t/bad/balance_low.la \
	t/bad/balance_needy.la \
	t/bad/balance_never.la \
	t/bad/device_here.la \
	t/bad/gemm_partial.la \
	t/bad/verifier_crash_at_load.la \
	t/bad/verifier_crash_in_probe.la \
	t/bad/verifier_crash_in_symbol.la \
	t/bad/verifier_empty_license.la \
	t/bad/verifier_exit_in_probe.la \
	t/bad/verifier_good.la \
	t/bad/verifier_in_dependency.la \
	t/bad/verifier_loop_in_probe.la \
	t/bad/verifier_missing_operation.la \
	t/bad/verifier_no_probe.la \
	t/bad/verifier_no_symbol.la \
	t/bad/verifier_no_table.la \
	t/bad/verifier_null.la \
	t/bad/verifier_refuses.la \
	t/bad/verifier_short_description.la \
	t/bad/verifier_stopped.la \
	t/bad/verifier_twin_options.la \
	t/bad/verifier_undefined_symbol.la \
	t/bad/verifier_wrong_abi.la \
	t/bad/verifier_wrong_default.la \
	t/bad/verifier_wrong_kind.la \
	t/bad/verifier_wrong_name.la \
	t/bad/verifier_wrong_need.la \
	t/bad/verifier_wrong_offset.la \
	t/bad/verifier_wrong_operations.la \
	t/bad/verifier_wrong_table.la
check_LTLIBRARIES += $(bad_plugins) t/bad/libelsewhere.la
t_bad_libelsewhere_la_SOURCES = t/bad/elsewhere.c
t_bad_libelsewhere_la_LDFLAGS = -avoid-version -shared -rpath /nowhere
t_bad_balance_elsewhere_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_balance_high_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_balance_low_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_balance_needy_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_balance_never_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_device_here_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_gemm_partial_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_crash_at_load_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_crash_in_probe_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_crash_in_symbol_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_empty_license_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_exit_in_probe_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_good_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_in_dependency_la_LDFLAGS = -module $(BAD_LDFLAGS) -Wl,-rpath,'$$ORIGIN'
t_bad_verifier_in_dependency_la_LIBADD = t/bad/libelsewhere.la
t_bad_verifier_loop_in_probe_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_missing_operation_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_no_probe_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_no_symbol_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_no_table_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_null_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_refuses_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_short_description_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_stopped_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_twin_options_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_undefined_symbol_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_abi_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_default_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_kind_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_name_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_need_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_offset_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_operations_la_LDFLAGS = -module $(BAD_LDFLAGS)
t_bad_verifier_wrong_table_la_LDFLAGS = -module $(BAD_LDFLAGS)

EXTRA_DIST += t/bad/bad.h
