//! DPDK's tables: `rte_lpm`, `rte_fib`, `rte_lpm6` and `rte_fib6`, called as DPDK's own examples call them, a burst at
//! a time.
//!
//! The only place of the benchmark that calls DPDK. A table counts only if it took every route, so the sizes are
//! generous: where `num_tbl8` is small, `rte_fib6` refuses routes and then looks faster than it is.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::rc::Rc;

use carpool_dataplane::dpdk::Eal;
use dpdk_sys as dpdk;

use super::contender::Lookup;
use super::table::{Route, Table};
use crate::error::BenchError;
use crate::interrupt::Interrupt;

/// Bytes of an IPv6 address.
type Address6 = [u8; 16];

/// The name of the look-up functions with vectors of 512 bits.
pub const WIDE_VECTORS: &str = "vector_avx512";

/// Lets DPDK use the vectors of 512 bits that it leaves alone by default, where the CPU has them. It counts for look-up
/// functions chosen from now on.
pub fn allow_wide_vectors(_eal: &Eal) {
    // SAFETY: EAL runs; the call stores a number that is read when a look-up function is chosen. It fails where the
    // user has forced another width, which is then to be kept.
    unsafe { dpdk::rte_vect_set_max_simd_bitwidth(512) };
}

/// A table of DPDK's in EAL's memory, freed when it goes. It stays on one thread.
struct Owned<'e, T> {
    table: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
    eal: PhantomData<&'e Eal>,
}

impl<'e, T> Owned<'e, T> {
    /// What a create function returned, and the function that frees it.
    fn new(
        _eal: &'e Eal,
        name: &'static str,
        table: *mut T,
        free: unsafe extern "C" fn(*mut T),
    ) -> Result<Owned<'e, T>, BenchError> {
        let table = NonNull::new(table).ok_or_else(|| BenchError::Table {
            contender: name,
            problem: "DPDK could not make it, most likely for want of memory".into(),
        })?;
        Ok(Owned { table, free, eal: PhantomData })
    }

    fn get(&self) -> *mut T {
        self.table.as_ptr()
    }
}

impl<T> Drop for Owned<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the create function that this free function belongs to, and goes with this.
        unsafe { (self.free)(self.table.as_ptr()) };
    }
}

/// Adds every route; the first one that is refused is an error.
fn fill(
    name: &'static str,
    table: &Table,
    interrupt: &Interrupt,
    mut add: impl FnMut(&Route) -> i32,
) -> Result<(), BenchError> {
    for route in &table.routes {
        interrupt.check()?;
        let status = add(route);
        if status != 0 {
            let problem = format!("it refused the prefix {:x}/{} with error {status}", route.first, route.length);
            return Err(BenchError::Table { contender: name, problem });
        }
    }
    Ok(())
}

/// Room for every route, and some.
fn capacity(table: &Table) -> u32 {
    table.routes.len() as u32 + 1024
}

/// A name that no other table has.
fn name_of(kind: &str) -> CString {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    CString::new(format!("{kind}{}", NUMBER.fetch_add(1, Ordering::Relaxed))).unwrap_or_default()
}

/// An `rte_fib` of the kind "DIR24-8" with next hops of two bytes: the smallest that 250 next hops fit in.
pub struct Fib4<'e> {
    fib: Owned<'e, dpdk::rte_fib>,
}

impl<'e> Fib4<'e> {
    /// Makes it and adds all routes.
    pub fn new(eal: &'e Eal, table: &Table, interrupt: &Interrupt) -> Result<Rc<Fib4<'e>>, BenchError> {
        const NAME: &str = "rte_fib";
        let mut config = dpdk::rte_fib_conf {
            type_: dpdk::rte_fib_type_RTE_FIB_DIR24_8,
            max_routes: capacity(table) as i32,
            ..Default::default()
        };
        config.__bindgen_anon_1.dir24_8 = dpdk::rte_fib_conf__bindgen_ty_1__bindgen_ty_1 {
            nh_sz: dpdk::rte_fib_dir24_8_nh_sz_RTE_FIB_DIR24_8_2B,
            num_tbl8: 1 << 14,
        };
        // SAFETY: EAL runs; name and configuration are read before the call returns.
        let fib = unsafe { dpdk::rte_fib_create(name_of(NAME).as_ptr(), dpdk::SOCKET_ID_ANY, &mut config) };
        let fib = Owned::new(eal, NAME, fib, dpdk::rte_fib_free)?;
        fill(NAME, table, interrupt, |route| {
            // SAFETY: the table lives, and nothing else uses it while it is filled.
            unsafe { dpdk::rte_fib_add(fib.get(), route.first as u32, route.length, route.hop.into()) }
        })?;
        Ok(Rc::new(Fib4 { fib }))
    }

    /// Every look-up function that this machine can run.
    pub fn lookups(self: &Rc<Fib4<'e>>) -> Vec<(&'static str, Fib4Lookup<'e>)> {
        let all = [
            ("scalar_macro", dpdk::rte_fib_lookup_type_RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO),
            ("scalar_inline", dpdk::rte_fib_lookup_type_RTE_FIB_LOOKUP_DIR24_8_SCALAR_INLINE),
            ("scalar_uni", dpdk::rte_fib_lookup_type_RTE_FIB_LOOKUP_DIR24_8_SCALAR_UNI),
            (WIDE_VECTORS, dpdk::rte_fib_lookup_type_RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512),
        ];
        let lookups = all.map(|(way, kind)| (way, Fib4Lookup { fib: Rc::clone(self), kind }));
        lookups.into_iter().filter(|(_, lookup)| lookup.select()).collect()
    }
}

/// One look-up function of an `rte_fib`.
pub struct Fib4Lookup<'e> {
    fib: Rc<Fib4<'e>>,
    kind: dpdk::rte_fib_lookup_type,
}

impl Fib4Lookup<'_> {
    /// Makes it the one the table uses; false where the machine cannot.
    fn select(&self) -> bool {
        // SAFETY: the table lives; nothing looks up meanwhile, as tables stay on one thread.
        unsafe { dpdk::rte_fib_select_lookup(self.fib.fib.get(), self.kind) == 0 }
    }
}

impl Lookup for Fib4Lookup<'_> {
    type Address = u32;
    type Hop = u64;

    fn burst(&mut self, destinations: &[u32], hops: &mut [u64]) {
        let count = destinations.len().min(hops.len()) as i32;
        // SAFETY: the table lives, both arrays have `count` elements, and the destinations are only read.
        unsafe {
            dpdk::rte_fib_lookup_bulk(self.fib.fib.get(), destinations.as_ptr().cast_mut(), hops.as_mut_ptr(), count)
        };
    }

    fn plain(hop: u64) -> u16 {
        hop as u16
    }

    fn prepare(&mut self) {
        self.select();
    }
}

/// An `rte_fib6` of the kind "trie". Next hops have four bytes: with two it has room for 32,767 groups of 256 prefixes,
/// and a full table takes more.
pub struct Fib6<'e> {
    fib: Owned<'e, dpdk::rte_fib6>,
}

impl<'e> Fib6<'e> {
    /// Makes it and adds all routes.
    pub fn new(eal: &'e Eal, table: &Table, interrupt: &Interrupt) -> Result<Rc<Fib6<'e>>, BenchError> {
        const NAME: &str = "rte_fib6";
        let mut config = dpdk::rte_fib6_conf {
            type_: dpdk::rte_fib6_type_RTE_FIB6_TRIE,
            max_routes: capacity(table) as i32,
            ..Default::default()
        };
        config.__bindgen_anon_1.trie = dpdk::rte_fib6_conf__bindgen_ty_1__bindgen_ty_1 {
            nh_sz: dpdk::rte_fib_trie_nh_sz_RTE_FIB6_TRIE_4B,
            num_tbl8: 1 << 18,
        };
        // SAFETY: EAL runs; name and configuration are read before the call returns.
        let fib = unsafe { dpdk::rte_fib6_create(name_of(NAME).as_ptr(), dpdk::SOCKET_ID_ANY, &mut config) };
        let fib = Owned::new(eal, NAME, fib, dpdk::rte_fib6_free)?;
        fill(NAME, table, interrupt, |route| {
            let address = route.first.to_be_bytes();
            // SAFETY: the table lives, nothing else uses it while it is filled, and the address has 16 bytes.
            unsafe { dpdk::rte_fib6_add(fib.get(), address.as_ptr(), route.length, route.hop.into()) }
        })?;
        Ok(Rc::new(Fib6 { fib }))
    }

    /// Every look-up function that this machine can run.
    pub fn lookups(self: &Rc<Fib6<'e>>) -> Vec<(&'static str, Fib6Lookup<'e>)> {
        let all = [
            ("scalar", dpdk::rte_fib6_lookup_type_RTE_FIB6_LOOKUP_TRIE_SCALAR),
            (WIDE_VECTORS, dpdk::rte_fib6_lookup_type_RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512),
        ];
        let lookups = all.map(|(way, kind)| (way, Fib6Lookup { fib: Rc::clone(self), kind }));
        lookups.into_iter().filter(|(_, lookup)| lookup.select()).collect()
    }
}

/// One look-up function of an `rte_fib6`.
pub struct Fib6Lookup<'e> {
    fib: Rc<Fib6<'e>>,
    kind: dpdk::rte_fib6_lookup_type,
}

impl Fib6Lookup<'_> {
    /// Makes it the one the table uses; false where the machine cannot.
    fn select(&self) -> bool {
        // SAFETY: the table lives; nothing looks up meanwhile, as tables stay on one thread.
        unsafe { dpdk::rte_fib6_select_lookup(self.fib.fib.get(), self.kind) == 0 }
    }
}

impl Lookup for Fib6Lookup<'_> {
    type Address = Address6;
    type Hop = u64;

    fn burst(&mut self, destinations: &[Address6], hops: &mut [u64]) {
        let count = destinations.len().min(hops.len()) as i32;
        // SAFETY: the table lives, both arrays have `count` elements, and the destinations are only read.
        unsafe {
            dpdk::rte_fib6_lookup_bulk(self.fib.fib.get(), destinations.as_ptr().cast_mut(), hops.as_mut_ptr(), count)
        };
    }

    fn plain(hop: u64) -> u16 {
        hop as u16
    }

    fn prepare(&mut self) {
        self.select();
    }
}

/// An `rte_lpm6`.
pub struct Lpm6<'e> {
    lpm: Owned<'e, dpdk::rte_lpm6>,
}

impl<'e> Lpm6<'e> {
    /// Makes it and adds all routes.
    pub fn new(eal: &'e Eal, table: &Table, interrupt: &Interrupt) -> Result<Lpm6<'e>, BenchError> {
        const NAME: &str = "rte_lpm6";
        let config = dpdk::rte_lpm6_config { max_rules: capacity(table), number_tbl8s: 1 << 17, flags: 0 };
        // SAFETY: EAL runs; name and configuration are read before the call returns.
        let lpm = unsafe { dpdk::rte_lpm6_create(name_of(NAME).as_ptr(), dpdk::SOCKET_ID_ANY, &config) };
        let lpm = Owned::new(eal, NAME, lpm, dpdk::rte_lpm6_free)?;
        fill(NAME, table, interrupt, |route| {
            let address = route.first.to_be_bytes();
            // SAFETY: the table lives, nothing else uses it while it is filled, and the address has 16 bytes.
            unsafe { dpdk::rte_lpm6_add(lpm.get(), address.as_ptr(), route.length, route.hop.into()) }
        })?;
        Ok(Lpm6 { lpm })
    }
}

impl Lookup for Lpm6<'_> {
    type Address = Address6;
    type Hop = i32;

    fn burst(&mut self, destinations: &[Address6], hops: &mut [i32]) {
        let count = destinations.len().min(hops.len()) as u32;
        // SAFETY: the table lives, both arrays have `count` elements, and the destinations are only read.
        unsafe {
            dpdk::rte_lpm6_lookup_bulk_func(self.lpm.get(), destinations.as_ptr().cast_mut(), hops.as_mut_ptr(), count)
        };
    }

    fn plain(hop: i32) -> u16 {
        // Negative: no route.
        u16::try_from(hop).unwrap_or(super::hop::NO_ROUTE)
    }
}

/// An `rte_lpm`.
pub struct Lpm4<'e> {
    lpm: Owned<'e, dpdk::rte_lpm>,
}

impl<'e> Lpm4<'e> {
    /// Makes it and adds all routes: minutes for a full table.
    pub fn new(eal: &'e Eal, table: &Table, interrupt: &Interrupt) -> Result<Rc<Lpm4<'e>>, BenchError> {
        const NAME: &str = "rte_lpm";
        let config = dpdk::rte_lpm_config { max_rules: capacity(table), number_tbl8s: 1 << 14, flags: 0 };
        // SAFETY: EAL runs; name and configuration are read before the call returns.
        let lpm = unsafe { dpdk::rte_lpm_create(name_of(NAME).as_ptr(), dpdk::SOCKET_ID_ANY, &config) };
        let lpm = Owned::new(eal, NAME, lpm, dpdk::rte_lpm_free)?;
        fill(NAME, table, interrupt, |route| {
            // SAFETY: the table lives, and nothing else uses it while it is filled.
            unsafe { dpdk::rte_lpm_add(lpm.get(), route.first as u32, route.length, route.hop.into()) }
        })?;
        Ok(Rc::new(Lpm4 { lpm }))
    }
}

/// The look-up of four addresses at a time.
pub struct Lpm4X4<'e>(pub Rc<Lpm4<'e>>);

impl Lookup for Lpm4X4<'_> {
    type Address = u32;
    type Hop = u32;

    fn burst(&mut self, destinations: &[u32], hops: &mut [u32]) {
        let count = destinations.len().min(hops.len()) as u32;
        // SAFETY: the table lives, and both arrays have `count` elements.
        unsafe { dpdk::dpdk_lpm_lookup_x4_burst(self.0.lpm.get(), destinations.as_ptr(), hops.as_mut_ptr(), count) };
    }

    fn plain(hop: u32) -> u16 {
        hop as u16
    }
}

/// The look-up of an array.
pub struct Lpm4Bulk<'e>(pub Rc<Lpm4<'e>>);

impl Lookup for Lpm4Bulk<'_> {
    type Address = u32;
    type Hop = u32;

    fn burst(&mut self, destinations: &[u32], hops: &mut [u32]) {
        let count = destinations.len().min(hops.len()) as u32;
        // SAFETY: the table lives, and both arrays have `count` elements.
        unsafe { dpdk::rte_lpm_lookup_bulk_func(self.0.lpm.get(), destinations.as_ptr(), hops.as_mut_ptr(), count) };
    }

    fn plain(hop: u32) -> u16 {
        // A flag above the next hop says whether there is one; without it the rest means nothing.
        if hop & dpdk::RTE_LPM_LOOKUP_SUCCESS != 0 { hop as u16 } else { super::hop::NO_ROUTE }
    }
}
