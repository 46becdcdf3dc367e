/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/build_id.h"

#include <elf.h>
#include <string.h>
#include <unistd.h>

enum { MAX_HEADERS = 64, MAX_NOTES = 4096 };

static size_t padded(uint32_t len)
{
	return ((size_t)len + 3) & ~(size_t)3;
}

/* Walks the notes in buf; offsets only ever grow, and each step is checked against what is left. */
static size_t find_note(const uint8_t *buf, size_t len, uint8_t *out)
{
	while (len >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		size_t body;

		memcpy(&note, buf, sizeof(note));
		buf += sizeof(note);
		len -= sizeof(note);
		body = padded(note.n_namesz) + padded(note.n_descsz);
		if (body > len)
			return 0;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(buf, "GNU", 4) == 0 && note.n_descsz <= BUILD_ID_MAX) {
			memcpy(out, buf + 4, note.n_descsz);
			return note.n_descsz;
		}
		buf += body;
		len -= body;
	}
	return 0;
}

static size_t read_notes(int fd, const Elf64_Phdr *ph, uint8_t *out)
{
	uint8_t buf[MAX_NOTES];
	size_t want = ph->p_filesz < sizeof(buf) ? ph->p_filesz : sizeof(buf);
	ssize_t n = pread(fd, buf, want, (off_t)ph->p_offset);

	return n > 0 ? find_note(buf, (size_t)n, out) : 0;
}

size_t build_id_read(int fd, uint8_t out[BUILD_ID_MAX])
{
	Elf64_Ehdr head;
	Elf64_Phdr ph[MAX_HEADERS];
	ssize_t n = pread(fd, &head, sizeof(head), 0);

	if (n != (ssize_t)sizeof(head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_phentsize != sizeof(ph[0]))
		return 0;
	n = pread(fd, ph, sizeof(ph[0]) * (head.e_phnum < MAX_HEADERS ? head.e_phnum : MAX_HEADERS), (off_t)head.e_phoff);
	for (ssize_t i = 0; n > 0 && i < n / (ssize_t)sizeof(ph[0]); i++) {
		size_t len = ph[i].p_type == PT_NOTE ? read_notes(fd, &ph[i], out) : 0;

		if (len > 0)
			return len;
	}
	return 0;
}
