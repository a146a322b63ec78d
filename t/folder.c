/* folder.c - a folder of a test's own. */
#include "t/folder.h"
#include "t/tap/tap.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[512];

static void remove_tree(const char *path)
{
    char name[1024];
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (unlink(name))
            remove_tree(name);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

static void remove_top(void)
{
    remove_tree(top);
}

const char *folder_make(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(top, sizeof top, "%s/vw-test.XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(top))
        bail_out("cannot make a folder %s", top);
    atexit(remove_top);
    return top;
}

const char *folder_path(const char *name)
{
    static char ring[8][1024];
    static int next;
    char *path = ring[next++ % 8];
    snprintf(path, sizeof ring[0], "%s/%s", top, name);
    return path;
}

const char *folder_write(const char *name, const void *data, size_t bytes)
{
    const char *path = folder_path(name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file))
        bail_out("cannot write %s", path);
    return path;
}

const char *folder_text(const char *name, const char *text)
{
    return folder_write(name, text, strlen(text));
}

int folder_count(const char *part)
{
    int n = 0;
    DIR *dir = opendir(top);
    for (struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.' && strstr(e->d_name, part);
    if (dir)
        closedir(dir);
    return n;
}

char *folder_slurp(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st))
        bail_out("cannot open %s", path);
    char *data = malloc((size_t)st.st_size + 1);
    size_t n = data ? fread(data, 1, (size_t)st.st_size, file) : 0;
    fclose(file);
    if (!data || n != (size_t)st.st_size)
        bail_out("cannot read %s", path);
    data[n] = '\0';
    if (bytes)
        *bytes = n;
    return data;
}

uint64_t folder_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}
