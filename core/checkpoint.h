/* checkpoint.h - folders of files that are whole or not there.
 *
 * A run keeps its checkpoints as OUT/step-00001000/.  One is written under a hidden name, every
 * file synced, its checksums written last in `checksums`, the folder synced and then renamed:
 * whatever stops the program or the machine, a folder of that name holds all that was meant. 
 * Disks and people may still damage one, so a reader compares all checksums and takes the newest
 * that is right.
 *
 *     checksums:   5cd2d8c4c4ba1b3e 3211456 model.safetensors      XXH64, bytes, name
 *                  ...
 *                  8d1b2f83a37c1f33 0 checksums                     of the lines before
 */
#ifndef VW_CORE_CHECKPOINT_H
#define VW_CORE_CHECKPOINT_H

#include <vishwamai/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VW_CHECKPOINT_PATH = 4096 };

/* Make the hidden folder of a step; files go into it.  Leftovers of earlier attempts are removed.
 * */
vw_status vw_checkpoint_begin(const char *out, int64_t step, char path[VW_CHECKPOINT_PATH],
                              vw_error *err);
/* Sync, sum and rename it.  Where the step has a checkpoint already, that one stays if it is right
 * and goes if not. */
vw_status vw_checkpoint_finish(const char *out, int64_t step, const char *path, vw_error *err);
/* Remove it: a folder that holds files alone. */
void vw_checkpoint_abort(const char *path);

/* Is every file there, as it was written?  The error names the first that is not. */
vw_status vw_checkpoint_check(const char *path, vw_error *err);

/* The newest checkpoint that is right; `on_bad` hears of those that are not.  VW_E_NOTFOUND when
 * the run has none at all; VW_E_FORMAT when none is right, with what is wrong with the newest. */
typedef void (*vw_on_bad_checkpoint)(void *arg, const char *sentence);
vw_status vw_checkpoint_newest(const char *out, char path[VW_CHECKPOINT_PATH], int64_t *step,
                               vw_on_bad_checkpoint on_bad, void *arg, vw_error *err);

/* Remove all but the newest `keep` and the one of step `best` (negative: none). */
void vw_checkpoint_prune(const char *out, int64_t keep, int64_t best);

/* Let OUT/NAME be a link to the checkpoint of a step, replacing what it was in one go. */
vw_status vw_checkpoint_link(const char *out, const char *name, int64_t step, vw_error *err);

/* For folders that are no checkpoints of a run but are to be as whole: make an empty one, in place
 * of what a stopped program left; and write the checksums of what lies in it, all synced. */
vw_status vw_folder_begin(const char *path, vw_error *err);
vw_status vw_folder_seal(const char *path, vw_error *err);

/* Write a small file under a temporary name, sync and rename it. */
vw_status vw_file_write(const char *path, const void *data, size_t bytes, vw_error *err);

#endif
