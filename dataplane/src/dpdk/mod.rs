//! The only place that calls DPDK.
