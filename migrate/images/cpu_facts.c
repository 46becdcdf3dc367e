/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images/cpu_facts.h"

#include <cpuid.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

enum { XFEATURE_SSE = 1 << 1, XFEATURE_BNDREGS = 1 << 3 };

/* Where a word comes from. Words that are not listed are never set. */
static const struct { unsigned word, leaf, subleaf; enum cpuid_register reg; const char *what; } sources[] = {
	{ 0, 0x1, 0, EDX, "CPUID 1 edx" },
	{ 1, 0x80000001, 0, EDX, "CPUID 80000001 edx" },
	{ 4, 0x1, 0, ECX, "CPUID 1 ecx" },
	{ 6, 0x80000001, 0, ECX, "CPUID 80000001 ecx" },
	{ 9, 0x7, 0, EBX, "CPUID 7 ebx" },
	{ 10, 0xd, 1, EAX, "CPUID d.1 eax" },
	{ 11, 0x7, 0, ECX, "CPUID 7 ecx" },
	{ 13, 0x80000008, 0, EBX, "CPUID 80000008 ebx" },
	{ 14, 0x6, 0, EAX, "CPUID 6 eax" },
	{ 15, 0x8000000a, 0, EDX, "CPUID 8000000a edx" },
	{ 18, 0x7, 0, EDX, "CPUID 7 edx" },
};
enum { SOURCES = sizeof(sources) / sizeof(sources[0]), WORD_OF_LINUX = 3 };

/* Word 3 is what Linux makes up for itself: those flags of /proc/cpuinfo that criu knows too. */
static const struct { const char *flag; unsigned bit; } linux_flags[] = { { " rep_good ", 16 }, { " nopl ", 20 }, { " cpuid ", 25 } };

/* Instructions that programs use after asking the processor once. Names as /proc/cpuinfo has them. */
static const struct { unsigned word, bit; const char *name; } instructions[] = {
	{ 0, 0, "fpu" }, { 0, 4, "tsc" }, { 0, 8, "cx8" }, { 0, 15, "cmov" }, { 0, 19, "clflush" }, { 0, 23, "mmx" }, { 0, 24, "fxsr" },
	{ 0, 25, "sse" }, { 0, 26, "sse2" },
	{ 1, 11, "syscall" }, { 1, 22, "mmxext" }, { 1, 25, "fxsr_opt" }, { 1, 27, "rdtscp" }, { 1, 29, "lm" }, { 1, 30, "3dnowext" },
	{ 1, 31, "3dnow" },
	{ 4, 0, "pni" }, { 4, 1, "pclmulqdq" }, { 4, 9, "ssse3" }, { 4, 12, "fma" }, { 4, 13, "cx16" }, { 4, 19, "sse4_1" },
	{ 4, 20, "sse4_2" }, { 4, 22, "movbe" }, { 4, 23, "popcnt" }, { 4, 25, "aes" }, { 4, 26, "xsave" }, { 4, 27, "osxsave" },
	{ 4, 28, "avx" }, { 4, 29, "f16c" }, { 4, 30, "rdrand" },
	{ 6, 0, "lahf_lm" }, { 6, 5, "abm" }, { 6, 6, "sse4a" }, { 6, 7, "misalignsse" }, { 6, 8, "3dnowprefetch" }, { 6, 11, "xop" },
	{ 6, 15, "lwp" }, { 6, 16, "fma4" }, { 6, 21, "tbm" },
	{ 9, 0, "fsgsbase" }, { 9, 3, "bmi1" }, { 9, 4, "hle" }, { 9, 5, "avx2" }, { 9, 8, "bmi2" }, { 9, 9, "erms" }, { 9, 11, "rtm" },
	{ 9, 14, "mpx" }, { 9, 16, "avx512f" }, { 9, 17, "avx512dq" }, { 9, 18, "rdseed" }, { 9, 19, "adx" }, { 9, 21, "avx512ifma" },
	{ 9, 23, "clflushopt" }, { 9, 24, "clwb" }, { 9, 26, "avx512pf" }, { 9, 27, "avx512er" }, { 9, 28, "avx512cd" }, { 9, 29, "sha_ni" },
	{ 9, 30, "avx512bw" }, { 9, 31, "avx512vl" },
	{ 10, 0, "xsaveopt" }, { 10, 1, "xsavec" }, { 10, 2, "xgetbv1" },
	{ 11, 1, "avx512vbmi" }, { 11, 3, "pku" }, { 11, 5, "waitpkg" }, { 11, 6, "avx512_vbmi2" }, { 11, 8, "gfni" }, { 11, 9, "vaes" },
	{ 11, 10, "vpclmulqdq" }, { 11, 11, "avx512_vnni" }, { 11, 12, "avx512_bitalg" }, { 11, 14, "avx512_vpopcntdq" }, { 11, 22, "rdpid" },
	{ 11, 25, "cldemote" }, { 11, 27, "movdiri" }, { 11, 28, "movdir64b" }, { 11, 29, "enqcmd" },
	{ 13, 0, "clzero" }, { 13, 4, "rdpru" },
	{ 18, 2, "avx512_4vnniw" }, { 18, 3, "avx512_4fmaps" }, { 18, 8, "avx512_vp2intersect" }, { 18, 14, "serialize" }, { 18, 22, "amx_bf16" },
	{ 18, 23, "avx512_fp16" }, { 18, 24, "amx_tile" }, { 18, 25, "amx_int8" },
};
enum { INSTRUCTIONS = sizeof(instructions) / sizeof(instructions[0]) };

/* --- this processor ------------------------------------------------------------------------------------------------------------- */

/* Zeros for a leaf that the processor does not have: __get_cpuid_count asks first. */
static void cpuid(unsigned leaf, unsigned subleaf, unsigned r[4])
{
	memset(r, 0, 4 * sizeof(*r));
	__get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]);
}

static uint32_t word_of_linux(void)
{
	struct err ignored = { 0 };
	cleanup_free char *text = file_read(AT_FDCWD, "/proc/cpuinfo", 4 << 20, NULL, &ignored);
	char *flags = text ? strstr(text, "\nflags") : NULL, *end = flags ? strchr(flags + 1, '\n') : NULL;
	uint32_t word = 0;

	if (!end)
		return 0;
	end[0] = ' ';
	end[1] = '\0';
	for (size_t i = 0; i < sizeof(linux_flags) / sizeof(linux_flags[0]); i++)
		word |= strstr(flags, linux_flags[i].flag) ? 1u << linux_flags[i].bit : 0;
	return word;
}

static void read_words(struct cpu_facts *f)
{
	unsigned r[4];

	f->words = CPU_WORDS;
	for (size_t i = 0; i < SOURCES; i++) {
		cpuid(sources[i].leaf, sources[i].subleaf, r);
		f->word[sources[i].word] = r[sources[i].reg];
	}
	f->word[WORD_OF_LINUX] = word_of_linux();
}

static void read_vendor(struct cpu_facts *f)
{
	char name[13] = "";
	unsigned r[4];

	cpuid(0, 0, r);
	memcpy(name, &r[EBX], 4);
	memcpy(name + 4, &r[EDX], 4);
	memcpy(name + 8, &r[ECX], 4);
	f->vendor = strcmp(name, "GenuineIntel") == 0 ? VENDOR__VENDOR_INTEL : strcmp(name, "AuthenticAMD") == 0 ? VENDOR__VENDOR_AMD :
		    VENDOR__VENDOR_UNKNOWN;
}

static void read_model(struct cpu_facts *f)
{
	unsigned r[4];

	cpuid(1, 0, r);
	f->family = r[EAX] >> 8 & 15;
	f->model = r[EAX] >> 4 & 15;
	f->stepping = r[EAX] & 15;
	if (f->family >= 6)
		f->model |= (r[EAX] >> 16 & 15) << 4;
	if (f->family == 15)
		f->family += r[EAX] >> 20 & 255;
}

static void read_name(struct cpu_facts *f)
{
	char text[49] = "", *start = text;
	unsigned r[4];
	size_t len;

	for (unsigned i = 0; i < 3; i++) {
		cpuid(0x80000002 + i, 0, r);
		memcpy(text + i * sizeof(r), r, sizeof(r));
	}
	start += strspn(start, " ");
	len = strlen(start);
	while (len && start[len - 1] == ' ')
		len--;
	snprintf(f->name, sizeof(f->name), "%.*s", (int)len, start);
}

static uint64_t comparable_xfeatures(uint64_t xcr0)
{
	return xcr0 & ~(uint64_t)(XFEATURE_SSE | XFEATURE_BNDREGS);
}

/* CPUID leaf 0xd, sub-leaf 0 (Intel SDM vol. 1, 13.2): ebx the size for what XCR0 enables, ecx for all that there is. */
static void read_xsave(struct cpu_facts *f)
{
	unsigned r[4], low, high;

	cpuid(1, 0, r);
	if (!(r[ECX] & bit_OSXSAVE))
		return;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	cpuid(0xd, 0, r);
	f->xfeatures = comparable_xfeatures((uint64_t)high << 32 | low);
	f->xsave_size = r[EBX];
	f->xsave_size_max = r[ECX];
}

void cpu_facts_read(struct cpu_facts *f)
{
	*f = (struct cpu_facts){ .words = 0 };
	read_vendor(f);
	read_model(f);
	read_name(f);
	read_words(f);
	read_xsave(f);
}

/* --- comparison ----------------------------------------------------------------------------------------------------------------- */

static int compare_fpu(const struct cpu_facts *image, const struct cpu_facts *here, struct err *e)
{
	uint64_t missing = image->xfeatures & ~here->xfeatures;

	if (missing)
		return err_set(e, ERR_MISMATCH, 0, "this processor lacks register state (XCR0 bits %#llx) that the image's has", (unsigned long long)missing);
	if (image->xsave_size > here->xsave_size)
		return err_set(e, ERR_MISMATCH, 0, "register state of %u bytes in the image, of %u on this processor", image->xsave_size, here->xsave_size);
	return 0;
}

static int compare_instructions(const struct cpu_facts *image, const struct cpu_facts *here, struct err *e)
{
	char names[400] = "";
	size_t len = 0;

	for (size_t i = 0; i < INSTRUCTIONS; i++) {
		uint32_t missing = instructions[i].word < image->words ? image->word[instructions[i].word] & ~here->word[instructions[i].word] : 0;

		if (missing >> instructions[i].bit & 1 && len < sizeof(names))
			len += (size_t)snprintf(names + len, sizeof(names) - len, " %s", instructions[i].name);
	}
	return len ? err_set(e, ERR_MISMATCH, 0, "this processor lacks instructions that the image's has:%s", names) : 0;
}

static const char *what_word(unsigned word)
{
	for (size_t i = 0; i < SOURCES; i++) {
		if (sources[i].word == word)
			return sources[i].what;
	}
	return word == WORD_OF_LINUX ? "Linux" : "not in use";
}

static int compare_words(const struct cpu_facts *image, const struct cpu_facts *here, struct err *e)
{
	for (unsigned i = 0; i < image->words; i++) {
		if (image->word[i] != here->word[i])
			return err_set(e, ERR_MISMATCH, 0, "capability word %u (%s) is %#x in the image and %#x on this processor", i, what_word(i),
				       image->word[i], here->word[i]);
	}
	return 0;
}

int cpu_facts_compare(const struct cpu_facts *image, const struct cpu_facts *here, unsigned caps, struct err *e)
{
	if (caps & CPU_CAP_FPU && compare_fpu(image, here, e) != 0)
		return -1;
	if (caps & CPU_CAP_INS && compare_instructions(image, here, e) != 0)
		return -1;
	return caps & CPU_CAP_CPU ? compare_words(image, here, e) : 0;
}

/* --- message -------------------------------------------------------------------------------------------------------------------- */

void cpu_facts_pack(struct cpu_facts *f, struct cpu_message *m)
{
	cpuinfo_entry__init(&m->entry);
	cpuinfo_x86_entry__init(&m->x86);
	m->list = &m->x86;
	m->entry.n_x86_entry = 1;
	m->entry.x86_entry = &m->list;
	m->x86.vendor_id = (Vendor)f->vendor;
	m->x86.cpu_family = f->family;
	m->x86.model = f->model;
	m->x86.stepping = f->stepping;
	m->x86.capability_ver = CPU_CAPABILITY_VERSION;
	m->x86.n_capability = CPU_WORDS;
	m->x86.capability = f->word;
	m->x86.model_id = f->name;
	m->x86.has_xfeatures_mask = m->x86.has_xsave_size = m->x86.has_xsave_size_max = true;
	m->x86.xfeatures_mask = f->xfeatures;
	m->x86.xsave_size = f->xsave_size;
	m->x86.xsave_size_max = f->xsave_size_max;
}

int cpu_facts_unpack(const CpuinfoEntry *entry, struct cpu_facts *f, struct err *e)
{
	const CpuinfoX86Entry *x;

	if (entry->n_x86_entry != 1)
		return err_set(e, ERR_PROTOCOL, 0, "describes %zu x86 processors, not one", entry->n_x86_entry);
	x = entry->x86_entry[0];
	*f = (struct cpu_facts){ .vendor = (uint32_t)x->vendor_id, .family = x->cpu_family, .model = x->model, .stepping = x->stepping,
				 .words = x->capability_ver == 1 ? CPU_WORDS_V1 : CPU_WORDS, .xfeatures = comparable_xfeatures(x->xfeatures_mask),
				 .xsave_size = x->xsave_size, .xsave_size_max = x->xsave_size_max };
	if (x->capability_ver < 1 || x->capability_ver > CPU_CAPABILITY_VERSION)
		return err_set(e, ERR_PROTOCOL, 0, "capabilities of version %u; 1 and 2 are known", x->capability_ver);
	if (x->n_capability != f->words)
		return err_set(e, ERR_PROTOCOL, 0, "%zu capability words, version %u has %u", x->n_capability, x->capability_ver, f->words);
	memcpy(f->word, x->capability, f->words * sizeof(*f->word));
	snprintf(f->name, sizeof(f->name), "%s", x->model_id ? x->model_id : "");
	return 0;
}
