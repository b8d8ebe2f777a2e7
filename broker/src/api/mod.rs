//! The public HTTP API: one folder per dialect over the same core.
