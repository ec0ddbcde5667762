// SPDX-License-Identifier: BSD-3-Clause
/* What the service manager is told of what a worker says, which may be taken over. */
// build: src/proxy/helper_manager.c src/proxy/notify.c src/proxy/activated.c src/proxy/helper_msg.c
// build: src/proxy/rule.c src/proxy/rule_text.c src/proxy/rule_addr.c src/proxy/host_addr.c src/proxy/log.c -lbsd -luv
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/helper_msg.h"

static int manager;

static const char *told(uint32_t state, uint32_t wait_s, uint32_t drain_s, const char *status)
{
	struct amp_helper_req req = {.op = AMP_HELPER_NOTIFY, .arg = {state, wait_s}};
	static char text[1024];
	ssize_t n;

	strcpy(req.path, status);
	amp_helper_manager_news(&req, drain_s);
	n = recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	text[n] = 0;
	return text;
}

/* A stop takes as much longer as the configuration says, once. */
static void test_extension(void **state)
{
	(void)state;
	assert_string_equal(told(AMP_HELPER_STOPPING, 30, 0, "a"), "STOPPING=1\nSTATUS=a");
	assert_string_equal(told(AMP_HELPER_STOPPING, UINT32_MAX, 5, "b"),
			    "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=b");
	assert_string_equal(told(AMP_HELPER_STOPPING, 5, 5, "c"), "STOPPING=1\nSTATUS=c");
}

/* One line of status is no line of another's. */
static void test_lines(void **state)
{
	(void)state;
	assert_string_equal(told(AMP_HELPER_STATUS, 0, 0, "x\nMAINPID=1"),
			    "STATUS=x MAINPID=1");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extension),
		cmocka_unit_test(test_lines),
	};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char path[64];

	snprintf(path, sizeof(path), "@ampsock-test-%d", (int)getpid());
	strcpy(un.sun_path + 1, path + 1);
	manager = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (manager < 0 ||
	    bind(manager, (struct sockaddr *)&un,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))))
		return 1;
	setenv("NOTIFY_SOCKET", path, 1);
	if (amp_helper_manager_open() != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
