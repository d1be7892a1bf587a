/*
 * A file that is cut short takes its pages from under a mapping, and touching one ends the program. What is
 * guarded becomes memory of its own then, all zeros: no ledger any more, which its reader notices.
 */
#pragma once

/* Guard a ledger's mapping, for good. Takes over SIGBUS for faults in it; any other goes where it went
 * before. */
void ledger_guard(void *start);
