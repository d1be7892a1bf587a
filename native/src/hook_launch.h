/* Launches after a fork. */
#pragma once

void launches_forked(void);
