/* near_text.h - how far a mistyped name is from another, for "did you mean".
 * Thread: any. */
#ifndef FLOWOPS_DOMAIN_NEAR_TEXT_H
#define FLOWOPS_DOMAIN_NEAR_TEXT_H

#define NEAR_TEXT_MAX_BYTES 64 /* longer names are near to nothing: it keeps a hostile name cheap */

/* Mistakes between two names: a letter added, left out, changed, or two neighbours swapped; case does not count.
 * max + 1 when there are more than max. */
int near_text_count(const char *a, const char *b, int max);

#endif
