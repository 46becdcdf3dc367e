/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/native/capture_priv.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { MAX_HEADERS = 64, MAX_NOTES = 4096 };

/* A note: sizes of name and description, a type, then both, each padded to four bytes. */
static size_t find_in_notes(const uint8_t *notes, size_t len, uint8_t *out, size_t max)
{
	size_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		size_t name, desc;

		memcpy(&n, notes + at, sizeof(n));
		if (n.n_namesz > len || n.n_descsz > len)
			return 0;
		name = at + sizeof(n);
		desc = name + ((n.n_namesz + 3) & ~3u);
		if (desc > len || n.n_descsz > len - desc)
			return 0;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && memcmp(notes + name, "GNU", 4) == 0 && n.n_descsz <= max) {
			memcpy(out, notes + desc, n.n_descsz);
			return n.n_descsz;
		}
		at = desc + ((n.n_descsz + 3) & ~3u);
		if (at > len)
			return 0;
	}
	return 0;
}

size_t elf_build_id(const char *path, uint8_t *out, size_t max)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	Elf64_Ehdr eh;
	Elf64_Phdr ph[MAX_HEADERS];
	size_t headers;

	if (fd < 0 || pread(fd, &eh, sizeof(eh), 0) != (ssize_t)sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phentsize != sizeof(ph[0]))
		return 0;
	headers = eh.e_phnum < MAX_HEADERS ? eh.e_phnum : MAX_HEADERS;
	if (pread(fd, ph, headers * sizeof(ph[0]), (off_t)eh.e_phoff) != (ssize_t)(headers * sizeof(ph[0])))
		return 0;
	for (size_t i = 0; i < headers; i++) {
		uint8_t notes[MAX_NOTES];
		size_t len = ph[i].p_filesz < sizeof(notes) ? ph[i].p_filesz : sizeof(notes), found;

		if (ph[i].p_type != PT_NOTE || pread(fd, notes, len, (off_t)ph[i].p_offset) != (ssize_t)len)
			continue;
		found = find_in_notes(notes, len, out, max);
		if (found)
			return found;
	}
	return 0;
}
