"""Accelerator families behind one contract, `backend`; `families` says which there are.

NVIDIA's is code: `nvidia` and the files that begin with it, `nvml`, `driver_root` (finding the driver),
`vendor_cdi` (the toolkit's own specifications).

All others are profiles: `profile` is their form, `profile_check` what can be wrong beyond it, `profile_file`
reads one; `facts` finds the devices of a `host`, `template` fills in texts, `generic` and `generic_edits`
make a backend of it all. Those that we ship are in the folder `profiles`.
"""
