/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pagemap_stream.h"

/* The next entry: 1, 0 at the end, -1. */
static int take_entry(struct pagemap_stream *s, struct err *e)
{
	const uint8_t *body;
	size_t len;
	int rc = image_get_bytes(s->in, &body, &len, e);

	if (rc == 1 && pagemap_table_take(&s->table, body, len, e) < 0)
		return err_wrap(e, "%s", s->name);
	return rc;
}

int pagemap_stream_open(struct pagemap_stream *s, int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	int rc;

	*s = (struct pagemap_stream){ .in = image_open(dirfd, pagemap_image_type(kind), id, e), .table.last_only = true };
	if (!s->in)
		return -1;
	image_name(pagemap_image_type(kind), id, s->name);
	rc = take_entry(s, e);
	if (rc == 1)
		return 0;
	pagemap_stream_close(s);
	return rc < 0 ? -1 : err_set(e, ERR_PROTOCOL, 0, "%s: there is no pagemap_head", s->name);
}

int pagemap_stream_next(struct pagemap_stream *s, struct pagemap_range *out, struct err *e)
{
	int rc = take_entry(s, e);

	if (rc == 1)
		*out = s->table.v[0];
	return rc;
}

void pagemap_stream_close(struct pagemap_stream *s)
{
	image_in_close(s->in);
	s->in = NULL;
	pagemap_table_finish(&s->table);
}
