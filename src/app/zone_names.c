/* zone_names.c - a walk over the zone files. */
#include "app/zone_names.h"

#include <glib.h>
#include <string.h>

#include "base/log.h"

#define ZONE_DIR "/usr/share/zoneinfo"
#define MAX_NAMES 4096     /* there are some 600 */
#define MAX_NAME_BYTES 128 /* the longest has 32 */
#define MAX_DEPTH 3        /* America/Argentina/Buenos_Aires */

/* Names of zones and their areas begin with a capital letter; what does not lies beside them (posix/, right/,
 * tzdata.zi). */
static void walk(const char *root, const char *area, int depth, GPtrArray *names)
{
    g_autofree char *path = g_build_filename(root, area, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *entry;
    while (dir != NULL && names->len < MAX_NAMES && (entry = g_dir_read_name(dir)) != NULL) {
        if (!g_ascii_isupper(entry[0]) || strlen(area) + strlen(entry) >= MAX_NAME_BYTES)
            continue;
        g_autofree char *name = area[0] == '\0' ? g_strdup(entry) : g_strconcat(area, "/", entry, NULL);
        g_autofree char *file = g_build_filename(root, name, NULL);
        if (!g_file_test(file, G_FILE_TEST_IS_DIR))
            g_ptr_array_add(names, g_steal_pointer(&name));
        else if (depth < MAX_DEPTH)
            walk(root, name, depth + 1, names);
    }
}

static int compare(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

char **zone_names_read(void)
{
    const char *root = g_getenv("TZDIR");
    if (root == NULL || root[0] == '\0')
        root = ZONE_DIR;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    walk(root, "", 1, names);
    if (names->len == 0)
        log_event(LOG_WARNING, "there are no time zone files (tzdata): schedules have no zone but UTC", "directory",
                  root, NULL);
    g_ptr_array_sort(names, compare); /* near matches of equal distance come in this order */
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}
