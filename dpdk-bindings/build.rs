//! Generates the bindings, compiles DPDK's static inline functions into callable ones, and links the core libraries.
//!
//! Drivers are not linked: EAL loads them from the distribution's driver directory when it starts.

use std::env;
use std::path::PathBuf;
use std::process;

/// Says what to install and ends the build without a backtrace.
fn missing(what: &str, packages: &str, cause: &dyn std::fmt::Display) -> ! {
    eprintln!("error: {what}. On Debian 12: apt-get install {packages}\n\n{cause}");
    process::exit(1);
}

/// The pkg-config crate keeps only the flags that Cargo understands. DPDK's headers need these two as well:
/// `rte_config.h` before everything, and SSE4.2 as Debian compiled the libraries (`-march=x86-64` does not compile).
/// `_GNU_SOURCE` is for `fopencookie`.
const DROPPED_FLAGS: [&str; 4] = ["-D_GNU_SOURCE", "-include", "rte_config.h", "-march=corei7"];

/// Functions that are called from Rust; the types and constants they need follow by themselves.
const FUNCTIONS: [&str; 73] = [
    // EAL, lcores, logging
    "dpdk_errno",
    "fopencookie",
    "rte_eal_cleanup",
    "rte_eal_get_runtime_dir",
    "rte_eal_init",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_epoll_wait",
    "rte_lcore_id",
    "rte_log_cur_msg_loglevel",
    "rte_openlog_stream",
    "rte_pdump_init",
    "rte_pdump_uninit",
    "rte_strerror",
    // devices
    "rte_dev_name",
    "rte_dev_probe",
    "rte_dev_remove",
    // mempools and mbufs: the slow paths, the fast ones are written in Rust
    "rte_mempool_avail_count",
    "rte_mempool_cache_create",
    "rte_mempool_cache_flush",
    "rte_mempool_cache_free",
    "rte_mempool_default_cache",
    "rte_mempool_free",
    "rte_mempool_generic_get",
    "rte_mempool_generic_put",
    "rte_pktmbuf_chain",
    "rte_pktmbuf_clone",
    "rte_pktmbuf_free",
    "rte_pktmbuf_pool_create",
    "rte_pktmbuf_prefree_seg",
    // ports
    "rte_eth_add_rx_callback",
    "rte_eth_allmulticast_enable",
    "rte_eth_call_rx_callbacks",
    "rte_eth_call_tx_callbacks",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rx_intr_ctl_q",
    "rte_eth_dev_rx_intr_ctl_q_get_fd",
    "rte_eth_dev_rx_intr_disable",
    "rte_eth_dev_rx_intr_enable",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_find_next_owned_by",
    "rte_eth_link_get_nowait",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_disable",
    "rte_eth_remove_rx_callback",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    // longest-prefix-match tables, which the benchmark compares with
    "dpdk_lpm_lookup_x4_burst",
    "rte_fib6_add",
    "rte_fib6_create",
    "rte_fib6_free",
    "rte_fib6_lookup_bulk",
    "rte_fib6_select_lookup",
    "rte_fib_add",
    "rte_fib_create",
    "rte_fib_free",
    "rte_fib_lookup_bulk",
    "rte_fib_select_lookup",
    "rte_lpm6_add",
    "rte_lpm6_create",
    "rte_lpm6_free",
    "rte_lpm6_lookup_bulk_func",
    "rte_lpm_add",
    "rte_lpm_create",
    "rte_lpm_free",
    "rte_lpm_lookup_bulk_func",
    "rte_vect_set_max_simd_bitwidth",
];

/// Libraries those functions live in.
const LIBRARIES: [&str; 7] = ["rte_eal", "rte_mempool", "rte_mbuf", "rte_ethdev", "rte_pdump", "rte_lpm", "rte_fib"];

fn main() {
    println!("cargo:rerun-if-changed=dpdk.h");
    println!("cargo:rerun-if-changed=build.rs");

    let dpdk = pkg_config::Config::new()
        .cargo_metadata(false)
        .range_version("22.11".."23")
        .probe("libdpdk")
        .unwrap_or_else(|error| missing("libdpdk 22.11 was not found", "libdpdk-dev dpdk pkg-config", &error));
    let mut flags: Vec<String> = dpdk.include_paths.iter().map(|path| format!("-I{}", path.display())).collect();
    flags.extend(DROPPED_FLAGS.map(String::from));

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let inlines = out.join("inlines");
    let mut builder = bindgen::Builder::default().header("dpdk.h").clang_args(&flags);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    // bindgen panics where libclang is missing: the message must name the package all the same.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let generated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        builder
            .allowlist_type("rte_mempool_cache|rte_pktmbuf_pool_private")
            .allowlist_var("RTE_MAX_LCORE|RTE_MAX_ETHPORTS|RTE_MEMPOOL_CACHE_MAX_SIZE|RTE_ETH_.*")
            .allowlist_var("RTE_MBUF_.*|RTE_PKTMBUF_HEADROOM|RTE_LOG_.*|RTE_INTR_EVENT_.*|RTE_EPOLL_.*|SOCKET_ID_ANY")
            .allowlist_var("rte_eth_fp_ops|DPDK_.*")
            .allowlist_var("RTE_LPM_LOOKUP_SUCCESS")
            // 64 MB, and only ever pointed to.
            .blocklist_type("rte_lpm")
            .raw_line("#[repr(C)] pub struct rte_lpm { _opaque: [u8; 0] }")
            .opaque_type("rte_l2tpv2_combined_msg_hdr|rte_gtp_psc_generic_hdr")
            .derive_default(true)
            .derive_debug(false)
            // Sizes and offsets of every struct are asserted against what libclang says they are in C.
            .layout_tests(true)
            .wrap_static_fns(true)
            .wrap_static_fns_path(&inlines)
            .generate()
    }));
    std::panic::set_hook(hook);
    let bindings = match generated {
        Ok(Ok(bindings)) => bindings,
        Ok(Err(error)) => missing("bindgen could not read DPDK's headers", "libdpdk-dev libclang-dev clang", &error),
        Err(panic) => {
            let cause = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            missing("libclang, which bindgen needs, was not found", "libclang-dev clang", &cause)
        }
    };
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");

    let mut compiler = cc::Build::new();
    compiler.file(inlines.with_extension("c")).include(".").opt_level(3).warnings(false);
    for flag in &flags {
        compiler.flag(flag);
    }
    compiler.compile("dpdk_inlines");

    for path in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES {
        println!("cargo:rustc-link-lib={library}");
    }
}
