//! Files of the workload, resolved below its root.
