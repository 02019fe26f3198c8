/* health.h - `flowops health`: asks a service of this machine whether it is well. For a container's health check and for
 * people; the engine alone has no port to ask at.
 * Thread: main. */
#ifndef FLOWOPS_APP_HEALTH_H
#define FLOWOPS_APP_HEALTH_H

/* The words after the command's name. What is returned is the exit status: 0: it is well; 1: it is not, or does not answer
 * in time, or it could not be asked; a line says why. */
int health(int n_words, char **words);

#endif
