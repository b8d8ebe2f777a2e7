//! OCI image layers into the workload root.
