/* SPDX-License-Identifier: Apache-2.0 */
/* Which names a certificate bears, and what it is called in the log, whatever its maker wrote into it: everything here may come from a peer of whom nothing is known yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509v3.h>

#include "migrate/cli/tls_options.h"
#include "proto/base/tls_priv.h"

struct bytes {
	const char *at;
	int len;
};
#define BYTES(text) { text, sizeof(text) - 1 }

struct alternative {
	int type; /* 0: none */
	struct bytes value;
};

static const struct bearer {
	struct bytes common;
	struct alternative alternative[2];
	const char *allow, *host; /* one of them, or neither: a server that lets in whom the authority signed */
	bool wanted;
	const char *shown;
} bearers[] = {
	/* the common name is one where no DNS name stands beside it */
	{ .common = BYTES("host-d"), .allow = "host-d", .wanted = true, .shown = "host-d" },
	{ .common = BYTES("host-d"), .host = "host-d", .wanted = true, .shown = "host-d" },
	{ .common = BYTES("host-d"), .allow = "host-a", .shown = "host-d" },
	{ .common = BYTES("host-a"), .alternative = { { GEN_DNS, BYTES("host-e") } }, .allow = "host-a", .shown = "host-e" },
	{ .common = BYTES("host-a"), .alternative = { { GEN_DNS, BYTES("host-e") } }, .host = "host-a", .shown = "host-e" },
	{ .common = BYTES("host-a"), .alternative = { { GEN_IPADD, BYTES("\x0a\x4d\0\x01") } }, .allow = "host-a", .wanted = true, .shown = "10.77.0.1" },
	{ .common = BYTES("host-a"), .alternative = { { GEN_EMAIL, BYTES("host-b") } }, .allow = "host-b", .shown = "host-a" },
	/* whole, and in any case */
	{ .alternative = { { GEN_DNS, BYTES("host-e") }, { GEN_DNS, BYTES("HOST-A") } }, .allow = "host-a", .wanted = true, .shown = "host-e" },
	{ .alternative = { { GEN_DNS, BYTES("host-a") } }, .allow = "host-c,host-a,", .wanted = true, .shown = "host-a" },
	{ .alternative = { { GEN_DNS, BYTES("host-a") } }, .allow = ",host-a", .wanted = true, .shown = "host-a" },
	{ .alternative = { { GEN_DNS, BYTES("host-a") } }, .allow = "host-c, host-a", .wanted = true, .shown = "host-a" },
	{ .alternative = { { GEN_DNS, BYTES("host-a") } }, .allow = " host-a\t , host-c", .wanted = true, .shown = "host-a" },
	{ .alternative = { { GEN_DNS, BYTES("host-a") } }, .allow = "host- a,host-a host-c", .shown = "host-a" },
	{ .common = BYTES("Host A"), .allow = "host-c, Host A ", .wanted = true, .shown = "Host?A" },
	{ .alternative = { { GEN_DNS, BYTES("host-a") } }, .allow = "host-aa,host-,ost-a,host-c", .shown = "host-a" },
	{ .alternative = { { GEN_DNS, BYTES("host-a.example.org") } }, .allow = "host-a", .shown = "host-a.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("host-a.example.org") } }, .allow = ".example.org", .shown = "host-a.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("host-a.example.org") } }, .allow = "", .shown = "host-a.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("host-a.example.org") } }, .host = ".example.org", .shown = "host-a.example.org" },
	/* a name does not end where a byte of zero is */
	{ .alternative = { { GEN_DNS, BYTES("host-a\0.example.org") } }, .allow = "host-a", .shown = "host-a?.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("host-a\0.example.org") } }, .host = "host-a", .shown = "host-a?.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("host-a\0") } }, .host = "host-a", .shown = "host-a?" },
	{ .common = BYTES("host-a\0.example.org"), .allow = "host-a", .shown = "host-a?.example.org" },
	/* a wildcard stands for one label of a host that is connected to */
	{ .alternative = { { GEN_DNS, BYTES("*.example.org") } }, .host = "any.example.org", .wanted = true, .shown = "*.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("*.example.org") } }, .allow = "any.example.org", .shown = "*.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("*.example.org") } }, .host = "any.other.example.org", .shown = "*.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("*.example.org") } }, .host = "example.org", .shown = "*.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("h*.example.org") } }, .host = "host.example.org", .shown = "h*.example.org" },
	{ .alternative = { { GEN_DNS, BYTES("*.org") } }, .host = "example.org", .shown = "*.org" },
	{ .alternative = { { GEN_DNS, BYTES("*") } }, .host = "host-a", .shown = "*" },
	/* addresses, and what is none */
	{ .alternative = { { GEN_IPADD, BYTES("\x0a\x4d\0\x01") } }, .allow = "10.77.0.1", .wanted = true, .shown = "10.77.0.1" },
	{ .alternative = { { GEN_IPADD, BYTES("\x0a\x4d\0\x01") } }, .allow = "10.77.0.10,10.77.0", .shown = "10.77.0.1" },
	{ .alternative = { { GEN_IPADD, BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01") } }, .host = "0:0::1", .wanted = true, .shown = "::1" },
	{ .alternative = { { GEN_IPADD, BYTES("") } }, .allow = "0.0.0.0", .shown = "nameless" },
	{ .alternative = { { GEN_IPADD, BYTES("\x0a") } }, .allow = "10.0.0.0", .shown = "nameless" },
	{ .alternative = { { GEN_IPADD, BYTES("\x0a\x4d\0\x01\0") }, { GEN_DNS, BYTES("host-a") } }, .allow = "10.77.0.1", .shown = "host-a" },
	{ .common = BYTES("host-d"), .alternative = { { GEN_IPADD, BYTES("\x0a\x4d\0") } }, .allow = "10.77.0.0", .shown = "host-d" },
	/* without any, and with what no terminal shall see */
	{ .allow = "host-a", .shown = "nameless" },
	{ .host = "host-a", .shown = "nameless" },
	{ .wanted = true, .shown = "nameless" },
	{ .alternative = { { GEN_DNS, BYTES("") } }, .wanted = true, .shown = "nameless" },
	{ .common = BYTES("a\"b\nc\033d e\x9b"), .wanted = true, .shown = "a?b?c?d?e?" },
};

static void add_alternative(GENERAL_NAMES *names, const struct alternative *a)
{
	ASN1_STRING *value = a->type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
	GENERAL_NAME *name = GENERAL_NAME_new();

	assert_true(value && name);
	assert_int_equal(ASN1_STRING_set(value, a->value.at, a->value.len), 1);
	GENERAL_NAME_set0_value(name, a->type, value);
	assert_true(sk_GENERAL_NAME_push(names, name) > 0);
}

/* Nobody has signed it: that is another's question. */
static X509 *certificate(const struct bearer *b)
{
	X509 *cert = X509_new();
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

	assert_true(cert && names);
	if (b->common.len)
		assert_int_equal(X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName, V_ASN1_UTF8STRING,
							    (const unsigned char *)b->common.at, b->common.len, -1, 0), 1);
	for (size_t i = 0; i < sizeof(b->alternative) / sizeof(b->alternative[0]); i++)
		if (b->alternative[i].type)
			add_alternative(names, &b->alternative[i]);
	if (sk_GENERAL_NAME_num(names) > 0)
		assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0), 1);
	GENERAL_NAMES_free(names);
	return cert;
}

static void names_are_what_they_are_whoever_wrote_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bearers) / sizeof(bearers[0]); i++) {
		const struct bearer *b = &bearers[i];
		const struct tls_config config = { .allow = b->allow };
		const struct tls_context context = { .config = &config };
		const struct tls_session session = { .context = &context, .name = b->host };
		X509 *cert = certificate(b);
		char shown[TLS_NAME_MAX];

		if (tls_name_wanted(&session, cert) != b->wanted)
			fail_msg("row %zu is %swanted", i, b->wanted ? "not " : "");
		tls_name_of(cert, shown);
		if (strcmp(shown, b->shown) != 0)
			fail_msg("row %zu is called \"%s\", not \"%s\"", i, shown, b->shown);
		X509_free(cert);
	}
}

static void options_that_let_nobody_in_are_refused(void **state)
{
	static const struct { const char *list, *words; } bad[] = {
		{ "", "a comma too many" }, { " ", "a comma too many" }, { ",", "a comma too many" }, { "host-a,", "a comma too many" }, { "a,,b", "a comma too many" },
		{ "host-a, .example.org", "'.example.org' is no whole name" }, { "*.example.org , host-a", "'*.example.org' is no whole name" },
	};
	const struct tls_config no_tls = { .allow = "host-a" }, unchecked = { .no_name_check = true }, both = { .on = true, .allow = "host-a", .no_name_check = true },
				good = { .key = "file", .allow = "host-a, 10.0.0.1 ,Host A" }, named = { .on = true, .allow = "a," };
	char long_name[400];
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(tls_check_names(bad[i].list, &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_non_null(strstr(e.text, bad[i].words));
	}
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(tls_check_names(long_name, &e), -1);
	assert_int_equal(tls_options_check(&good, &e), 0);
	assert_int_equal(tls_options_check(&no_tls, &e), -1);
	assert_non_null(strstr(e.text, "--tls-allow has no effect without TLS"));
	assert_int_equal(tls_options_check(&unchecked, &e), -1);
	assert_non_null(strstr(e.text, "--tls-no-cn-verify has no effect"));
	assert_int_equal(tls_options_check(&both, &e), -1);
	assert_non_null(strstr(e.text, "exclude each other"));
	assert_int_equal(tls_options_check(&named, &e), -1);
	assert_int_equal(strncmp(e.text, "--tls-allow: 'a,'", 17), 0);
}

static void a_long_name_is_cut(void **state)
{
	char name[3 * TLS_NAME_MAX], shown[TLS_NAME_MAX];
	struct bearer b = { .alternative = { { GEN_DNS, { name, sizeof(name) } } } };
	X509 *cert;

	(void)state;
	memset(name, 'x', sizeof(name));
	for (int i = 0; i < 2; i++) {
		cert = certificate(&b);
		tls_name_of(cert, shown);
		assert_int_equal(strlen(shown), TLS_NAME_MAX - 1);
		X509_free(cert);
		b = (struct bearer){ .common = { name, sizeof(name) } };
	}
	tls_name_of(NULL, shown);
	assert_string_equal(shown, "nameless");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_what_they_are_whoever_wrote_them),
		cmocka_unit_test(options_that_let_nobody_in_are_refused),
		cmocka_unit_test(a_long_name_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
