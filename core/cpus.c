/* cpus.c - affinity mask and control group quota, as Linux tells them. */
#include "core/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void find_mask(vw_cpus *cpus)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE && cpus->n < VW_MAX_CPUS; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus->list[cpus->n++] = cpu;
}

/* CPUs of "quota period" in a file, rounded up; 0 when there is no limit. */
static int read_quota(const char *path)
{
    FILE *file = fopen(path, "re");
    char quota[32];
    double period = 0, cpus = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%31s %lf", quota, &period) == 2 && strcmp(quota, "max") != 0 && period > 0)
        cpus = strtod(quota, NULL) / period;
    fclose(file);
    return cpus > 0 && cpus < VW_MAX_CPUS ? (int)(cpus + 0.999) : 0;
}

static int smaller_limit(int a, int b)
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

/* The least quota of this process's group (version 2) and of all groups above it. */
static int find_quota(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[2048], path[2200];
    int limit = 0;

    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::", 3) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        for (char *end = line + strlen(line); end >= line + 3; end--) {
            if (*end != '/' && *end != '\0')
                continue;
            *end = '\0';
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", line + 3);
            limit = smaller_limit(limit, read_quota(path));
        }
    }
    if (file)
        fclose(file);
    return smaller_limit(limit, read_quota("/sys/fs/cgroup/cpu.max"));
}

void vw_cpus_find(vw_cpus *cpus)
{
    int quota;

    cpus->n = 0;
    find_mask(cpus);
    cpus->usable = cpus->n;
    if (cpus->usable == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        cpus->usable = online > 0 && online < VW_MAX_CPUS ? (int)online : 1;
    }
    quota = find_quota();
    if (quota > 0 && quota < cpus->usable)
        cpus->usable = quota;
}

bool vw_cpus_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}
