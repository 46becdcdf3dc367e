/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/options.h"
#include "migrate/cli/run.h"
#include "migrate/cli/verbs.h"
#include "migrate/criu/criu_main.h"
#include "proto/base/daemon.h"

int main(int argc, char **argv)
{
	static const struct verb verbs[] = {
		{ &migrate_command, run_migrate },
		{ &agent_command, run_agent },
		{ &recover_command, run_recover },
		{ &page_server_command, run_page_server },
		{ &service_command, run_service },
		{ &status_command, run_status },
		{ &swrk_command, run_swrk },
		{ 0 },
	};

	daemon_fill_standard();
	return criu_is_name(argv[0]) ? criu_main(argc, argv) : verbs_main(verbs, &criu_verbs_of_dray, argc, argv);
}
