"""Steps at random, a line for each; see the package."""

import sys

from tests.unit.native.sequences import contexts, memory, physical, pools, sparse, work
from tests.unit.native.sequences.driver import call, cards, chance, said

SUBJECTS = (contexts, memory, pools, work, physical, sparse)


def steps(wanted):
    """Those that are named, or all; what opens is as often again as what closes."""
    weighed = [step for each in SUBJECTS for step in each.OPENS * 20 + each.CLOSES * 10 + each.SELDOM * 10]
    return [step for step in weighed if not wanted or step.__name__ in wanted]


def end():
    physical.end()
    work.end()
    pools.end()
    contexts.end()
    pools.trim_defaults()
    physical.look_once_more()


def main(seed, count, *wanted):
    chance.seed(int(seed))
    cards[:] = range(int(count))
    among = steps(wanted)
    call("cuInit", 0)
    for line in sys.stdin:
        said.clear()
        if line == "end\n":
            end()
            print("ended", flush=True)
            continue
        step = chance.choice(among)
        step()
        print(step.__name__, *said, flush=True)


main(*sys.argv[1:])
