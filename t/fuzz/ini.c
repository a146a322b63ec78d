/* ini.c - any text as a settings file, and its first line as an assignment.
 *
 * What is accepted must come through printing unharmed: the printed text is read again, accepted
 * again, and prints itself.
 */
#include <vishwamai/vishwamai.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read the bytes as a file.  Its name has to be a path, so it is one of a file without a folder. */
static vw_status read_bytes(vw_settings *settings, const void *bytes, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    vw_error err = {VW_OK, ""};
    vw_status status;

    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    status = vw_settings_read(settings, path, &err);
    if (status != VW_OK && !err.text[0])
        abort();
    close(fd);
    return status;
}

static vw_settings *new_settings(void)
{
    vw_settings *settings;

    if (vw_settings_new(&settings, NULL) != VW_OK)
        abort();
    return settings;
}

static char *print(const vw_settings *settings, size_t *bytes)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, bytes);

    if (!to || vw_settings_print(settings, to, NULL) != VW_OK || fclose(to) != 0)
        abort();
    return text;
}

static void test_print(const vw_settings *settings)
{
    vw_settings *again = new_settings();
    vw_error err;
    size_t bytes;
    char *text = print(settings, &bytes);

    if (read_bytes(again, text, bytes) != VW_OK || vw_settings_check(again, &err) != VW_OK)
        abort();
    free(text);
    free(print(again, &bytes));
    vw_settings_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vw_settings *settings = new_settings();
    vw_error err = {VW_OK, ""};
    char line[512];
    size_t n = 0;

    setenv("VW_PLUGIN_PATH", "/nowhere", 1);
    vw_settings_set(settings, "log", "level", "error", "fuzz", &err);
    while (n < size && n + 1 < sizeof line && data[n] != '\n') {
        line[n] = (char)data[n];
        n++;
    }
    line[n] = '\0';
    if (vw_settings_assign(settings, line, "--set #1", &err) != VW_OK && !err.text[0])
        abort();
    if (vw_settings_check(settings, &err) == VW_OK)
        test_print(settings);
    if (read_bytes(settings, data, size) == VW_OK) {
        vw_settings_set(settings, "log", "level", "error", "fuzz", &err);
        if (vw_settings_check(settings, &err) == VW_OK)
            test_print(settings);
    }
    vw_settings_free(settings);
    return 0;
}
