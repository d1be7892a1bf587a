"""`hami in-use`, which the chart's pre-delete hook runs."""

from hami_dra.kube import kinds


def test_a_cluster_with_a_share_in_use_is_refused_and_one_without_is_not(hami, kube):
    refused = hami("in-use")
    assert refused.exit_code == 1, refused.output
    assert "claims are in use: " in refused.output
    for claim in kube.list(kinds.RESOURCE_CLAIMS)[0]:
        kube.delete(kinds.RESOURCE_CLAIMS, claim["metadata"]["name"], claim["metadata"]["namespace"])
    free = hami("in-use")
    assert (free.exit_code, free.output) == (0, "no share is in use\n")
