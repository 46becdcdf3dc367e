/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/comma_list.h"
#include "proto/base/sock.h"
#include "proto/base/tls_priv.h"

/* A wildcard in a certificate may stand for a host that one connects to, never for somebody who is let in. A name is whole: for OpenSSL one that begins with
 * a dot stands for all that end in it. */
static bool bears(X509 *cert, const char *name, unsigned flags)
{
	if (name[0] == '.')
		return false;
	return X509_check_ip_asc(cert, name, 0) == 1 || X509_check_host(cert, name, 0, flags | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static bool bears_one_of(X509 *cert, const char *list)
{
	char name[SOCK_HOST_MAX];
	const char *word;
	size_t len;

	while (comma_list_next(&list, &word, &len)) {
		if (len == 0 || len >= sizeof(name))
			continue;
		memcpy(name, word, len);
		name[len] = '\0';
		if (bears(cert, name, X509_CHECK_FLAG_NO_WILDCARDS))
			return true;
	}
	return false;
}

int tls_check_names(const char *list, struct err *e)
{
	const char *word, *rest = list;
	size_t len;

	while (comma_list_next(&rest, &word, &len)) {
		if (len == 0)
			return err_set(e, ERR_USAGE, 0, "'%.80s' has a comma too many: no name is between, before or behind it", list);
		if (len >= SOCK_HOST_MAX)
			return err_set(e, ERR_USAGE, 0, "'%.40s...' is longer than a name can be (%d bytes)", word, SOCK_HOST_MAX - 1);
		if (word[0] == '.' || memchr(word, '*', len))
			return err_set(e, ERR_USAGE, 0, "'%.*s' is no whole name: nobody is let in by a domain or a wildcard", (int)len, word);
	}
	return 0;
}

bool tls_name_wanted(const struct tls_session *s, X509 *cert)
{
	const struct tls_config *c = s->context->config;

	if (c->allow)
		return bears_one_of(cert, c->allow);
	return !s->name || c->no_name_check || bears(cert, s->name, 0);
}

/* Names go to logs and terminals: what isn't plain text is shown as '?'. So are bytes of zero, behind which a name may go on. */
static bool copy_name(const void *from, size_t len, char text[TLS_NAME_MAX])
{
	const unsigned char *p = from;
	size_t n = len < TLS_NAME_MAX - 1 ? len : TLS_NAME_MAX - 1;

	if (n == 0)
		return false;
	for (size_t i = 0; i < n; i++)
		text[i] = p[i] > 0x20 && p[i] < 0x7f && p[i] != '"' ? (char)p[i] : '?';
	text[n] = '\0';
	return true;
}

/* Of whatever length: nobody has looked at it. */
static bool copy_address(const ASN1_OCTET_STRING *ip, char text[TLS_NAME_MAX])
{
	int len = ASN1_STRING_length(ip), family = len == 4 ? AF_INET : len == 16 ? AF_INET6 : AF_UNSPEC;

	return family != AF_UNSPEC && inet_ntop(family, ASN1_STRING_get0_data(ip), text, TLS_NAME_MAX) != NULL;
}

static bool alternative(const GENERAL_NAME *g, char text[TLS_NAME_MAX])
{
	if (g->type == GEN_DNS)
		return copy_name(ASN1_STRING_get0_data(g->d.dNSName), (size_t)ASN1_STRING_length(g->d.dNSName), text);
	return g->type == GEN_IPADD && copy_address(g->d.iPAddress, text);
}

static bool first_alternative(X509 *cert, char text[TLS_NAME_MAX])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++)
		found = alternative(sk_GENERAL_NAME_value(names, i), text);
	GENERAL_NAMES_free(names);
	return found;
}

void tls_name_of(X509 *cert, char text[TLS_NAME_MAX])
{
	char common[TLS_NAME_MAX];
	int len;

	snprintf(text, TLS_NAME_MAX, "nameless");
	if (!cert || first_alternative(cert, text))
		return;
	len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, common, sizeof(common));
	if (len > 0)
		copy_name(common, (size_t)len, text);
}
