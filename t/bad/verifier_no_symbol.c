/* verifier_no_symbol.c - a shared object that is no plugin. */

extern int vw_not_a_plugin;
int vw_not_a_plugin = 1;
