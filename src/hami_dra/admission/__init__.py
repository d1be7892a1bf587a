"""Admission path: Pod -> GPU request -> claim spec -> patch; then claim or template, gone with the Pod.

- `request`: what the containers of a Pod ask for (pure; denies bad input)
- `claims`: the claim specification for one request (pure)
- `patch`: the Pod as it is admitted, and the claims or templates to be made for it (pure)
- `server`: AdmissionReview over HTTPS (edge)
- `controller`: makes and collects the claims and templates (edge)
- `certs`: the serving certificate (edge)
"""
