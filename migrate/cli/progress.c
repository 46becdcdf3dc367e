/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "migrate/cli/human.h"
#include "proto/wire/runs.h"

enum { BAR_MIN = 8, BAR_MAX = 30, PARTS = 5 };

double progress_fraction(const struct progress *p)
{
	if (p->pages_total == 0)
		return 1;
	if (p->pages_left >= p->pages_total)
		return 0;
	return (double)(p->pages_total - p->pages_left) / (double)p->pages_total;
}

struct part { char text[48]; };

/* Most important first; "" for what is not known. */
static void make_parts(const struct progress *p, struct part part[PARTS])
{
	struct human left = human_bytes(pages_to_bytes(p->pages_left));

	memset(part, 0, PARTS * sizeof(*part));
	snprintf(part[0].text, sizeof(part[0].text), "  %3d %%", (int)(progress_fraction(p) * 100));
	snprintf(part[1].text, sizeof(part[1].text), "  %s left", left.text);
	if (p->dirty_bytes_per_s)
		snprintf(part[2].text, sizeof(part[2].text), "  dirty %s", human_rate(p->dirty_bytes_per_s).text);
	if (p->bandwidth_bytes_per_s)
		snprintf(part[3].text, sizeof(part[3].text), "  link %s", human_rate(p->bandwidth_bytes_per_s).text);
	if (p->predicted_blackout_us)
		snprintf(part[4].text, sizeof(part[4].text), "  blackout %s", human_time(p->predicted_blackout_us).text);
}

static size_t put_bar(char *buf, size_t cells, double fraction)
{
	size_t full = (size_t)(fraction * (double)cells);

	buf[0] = ' ';
	buf[1] = ' ';
	buf[2] = '[';
	memset(buf + 3, '#', full);
	memset(buf + 3 + full, '-', cells - full);
	buf[3 + cells] = ']';
	return cells + 4;
}

size_t progress_format(const struct progress *p, unsigned width, char *buf, size_t size)
{
	struct part part[PARTS];
	char line[PROGRESS_MAX_WIDTH + 64];
	size_t len, rest = 0, n = 0;

	if (size == 0)
		return 0;
	if (width > PROGRESS_MAX_WIDTH)
		width = PROGRESS_MAX_WIDTH;
	if (width >= size)
		width = (unsigned)size - 1;
	make_parts(p, part);
	len = (size_t)snprintf(line, sizeof(line), p->late ? "post-copy" : p->frozen ? "last round" : "round %u", p->round);
	while (n < PARTS && len + rest + strlen(part[n].text) <= width)
		rest += strlen(part[n++].text);
	if (len + rest + BAR_MIN + 4 <= width) {
		size_t cells = width - len - rest - 4;

		len += put_bar(line + len, cells < BAR_MAX ? cells : BAR_MAX, progress_fraction(p));
	}
	for (size_t i = 0; i < n; i++) {
		memcpy(line + len, part[i].text, strlen(part[i].text));
		len += strlen(part[i].text);
	}
	len = len < width ? len : width;
	memcpy(buf, line, len);
	buf[len] = '\0';
	return len;
}

void progress_line_init(struct progress_line *l, FILE *out)
{
	const char *term = getenv("TERM");

	*l = (struct progress_line){ .out = out, .terminal = isatty(fileno(out)) && (!term || strcmp(term, "dumb") != 0) };
}

static unsigned terminal_width(FILE *out)
{
	struct winsize w;

	return ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

void progress_line_show(struct progress_line *l, const struct progress *p)
{
	char line[PROGRESS_MAX_WIDTH + 1];

	if (!l->terminal)
		return;
	/* The last column stays free: many terminals wrap on writing it. */
	progress_format(p, terminal_width(l->out) - 1, line, sizeof(line));
	fprintf(l->out, "\r%s\033[K", line);
	fflush(l->out);
	l->shown = true;
}

void progress_line_clear(struct progress_line *l)
{
	if (!l->shown)
		return;
	fputs("\r\033[K", l->out);
	fflush(l->out);
	l->shown = false;
}
