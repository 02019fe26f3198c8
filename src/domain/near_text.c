/* near_text.c - the edit distance with swaps of neighbours, three rows at a time. */
#include "domain/near_text.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

static bool is_same(char a, char b)
{
    return g_ascii_tolower(a) == g_ascii_tolower(b);
}

int near_text_count(const char *a, const char *b, int max)
{
    int rows[3][NEAR_TEXT_MAX_BYTES + 1];
    size_t m = strnlen(a, NEAR_TEXT_MAX_BYTES + 1), n = strnlen(b, NEAR_TEXT_MAX_BYTES + 1);
    int *before = rows[0], *above = rows[1], *row = rows[2];
    if (m > NEAR_TEXT_MAX_BYTES || n > NEAR_TEXT_MAX_BYTES || (int)MAX(m, n) - (int)MIN(m, n) > max)
        return max + 1;
    for (size_t j = 0; j <= n; j++)
        above[j] = (int)j;
    for (size_t i = 1; i <= m; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            row[j] = MIN(above[j - 1] + (is_same(a[i - 1], b[j - 1]) ? 0 : 1), MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && is_same(a[i - 1], b[j - 2]) && is_same(a[i - 2], b[j - 1]))
                row[j] = MIN(row[j], before[j - 2] + 1);
        }
        int *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return MIN(above[n], max + 1);
}
