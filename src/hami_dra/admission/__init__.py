"""Admission path: Pod -> GPU request -> claim spec -> patch; then claim or template, gone with the Pod.

Pure, in the order of the data:

- `families`: resource names and annotations of each family of accelerators, as data; `settings`: the chosen
- `amounts`, `request`: what the containers of a Pod ask for; bad input is denied
- `selection`: which cards the annotations choose
- `init_shares`: which init container uses another container's share
- `claim_spec`: the claim specification for one request
- `metadata`, `patch`: the Pod as it is admitted, and the claims or templates to be made for it
- `reinvocation`: a converted Pod that is reviewed once more; `update`: one whose manifest is applied again
- `validate`: native claims and templates; `traditional_mode`: HAMi's, beside ours
- `preview`: the same for manifests without a cluster; `schema`: what an API server would insist on
- `claim_objects`, `collector`: what the controller makes and collects
- `authority`: the certificates of mode `self`

Edges:

- `server`: AdmissionReview over HTTPS; `tls`, `certs`: the serving certificate
- `cluster`: caches of it; `controller`, `work_queue`: claims and templates made for Pods that exist
- `admitted`: which of several replicas makes them first
"""
