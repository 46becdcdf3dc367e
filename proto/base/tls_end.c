/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/tls.h"

enum { SOON_DAYS = 14, DAY_S = 24 * 3600 };

/* Seconds since 1970; 0: there is none to be read. */
static time_t end_of(const char *path)
{
	cleanup_file FILE *f = fopen(path, "re");
	X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	struct tm tm;
	time_t end = 0;

	if (cert && ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1)
		end = timegm(&tm);
	X509_free(cert);
	return end > 0 ? end : 0;
}

void tls_tell_end(const struct tls_config *c, struct metrics *m)
{
	const char *path = c->cert ? c->cert : TLS_DEFAULT_CERT;
	time_t end = tls_configured(c) ? end_of(path) : 0, now = time(NULL);
	char when[32];
	struct tm tm;

	metrics_set(m, METRIC_TLS_END, (uint64_t)end);
	if (!end || end - now > SOON_DAYS * DAY_S)
		return;
	gmtime_r(&end, &tm);
	strftime(when, sizeof(when), "%FT%TZ", &tm);
	log_event(LOG_WARN, end < now ? "certificate-ran-out" : "certificate-runs-out", "file=\"%s\" when=%s", path, when);
}
