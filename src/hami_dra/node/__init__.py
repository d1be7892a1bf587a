"""Node path: NVML -> Device -> ResourceSlice -> (scheduler) -> NodePrepareResources -> share plan -> checkpoint + share folder + CDI file -> container."""
