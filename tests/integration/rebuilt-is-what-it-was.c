/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that a process can hold is there again when it was taken apart and rebuilt: each specimen of the zoo judges itself, and /proc says the
 * same of the copy as of the source. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/rebuild_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo.h"
#include "tests/lib/zoo_host.h"

static void move(pid_t pid)
{
	rebuild_rig_move(pid);
}

static void move_zoo(const char *kinds)
{
	zoo_moves(kinds, move);
}

int main(int argc, char **argv)
{
	char all[2048] = "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++)
		move_zoo(argv[i]);
	if (argc > 1)
		return 0;
	for (size_t i = 0; zoo_at(i); i++) {
		const struct zoo_kind *k = zoo_at(i);

		if (k->obstacle)
			continue;
		move_zoo(k->name);
		/* Without its rights a zoo can't check the others. */
		if (strcmp(k->name, "credentials") == 0)
			continue;
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", all[0] ? " " : "", k->name);
	}
	move_zoo(all);
	return 0;
}
