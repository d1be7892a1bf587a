"""What the webhook holds of the cluster."""

from hami_dra.admission.cluster import Cluster
from hami_dra.kube import kinds
from tests.support.fake_kube import Gate
from tests.support.waiting import until


def test_the_webhook_is_ready_once_every_first_list_is_in_and_not_before(kube):
    """Without the slices it would deny percentages, as if there were no card."""
    cluster = Cluster(kube)
    gate = kube.gate = Gate("list", kinds.RESOURCE_SLICES.plural, "")
    cluster.start()
    until(lambda: gate.waiting and cluster.watched.pods.synced.is_set())
    assert not cluster.ready()
    gate.opened.set()
    until(cluster.ready)
