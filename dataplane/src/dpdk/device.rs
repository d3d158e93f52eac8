//! A DPDK device with its port: found by probing, unplugged when the last user lets go.
//!
//! Devices are plugged in one by one, after EAL has started, so that a failure belongs to a device and says why. A
//! [`Device`] is shared by the [`super::Port`] that opened it and the queues that workers hold: it stops and closes
//! when the last of them is gone, so no queue ever touches a closed port.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_sys::{rte_device, rte_eth_dev_info};

use super::eal::{Eal, Running};
use super::mempool::Mempool;
use super::port::PortError;
use super::{error_text, log_stream, stale_socket};

/// Names of the devices that are open; also serialises plugging in and out, which EAL wants from one thread at a time.
static OPEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn open_devices() -> MutexGuard<'static, BTreeSet<String>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A probed device and its Ethernet port.
pub(super) struct Device {
    name: String,
    port: u16,
    handle: *mut rte_device,
    started: AtomicBool,
    /// The port's descriptors hold mbufs of it.
    _mempool: Mempool,
    _running: Arc<Running>,
}

// SAFETY: DPDK's control functions for a port may be called from any thread; the handle is only used in `drop`.
unsafe impl Send for Device {}
// SAFETY: as above: nothing is changed through a shared reference but an atomic.
unsafe impl Sync for Device {}

impl Device {
    /// Plugs a device in, unless EAL did so when it started (as it does with PCI devices), and finds its port.
    pub(super) fn probe(eal: &Eal, device: &str, mempool: &Mempool) -> Result<Device, PortError> {
        let name = device.split(',').next().unwrap_or(device).to_owned();
        let error = |cause: String| PortError::Probe { device: device.into(), cause };
        let arguments = CString::new(device).map_err(|_| error("the name contains a NUL byte".into()))?;

        let mut open = open_devices();
        if open.contains(&name) {
            return Err(PortError::InUse { device: name });
        }
        let (port, info) = match find_port(&name) {
            Some(found) => found,
            None => {
                stale_socket::remove_for(device);
                // SAFETY: EAL runs (`eal` is the proof), and the string is terminated and copied.
                let (status, lines) = log_stream::capture(|| unsafe { dpdk_sys::rte_dev_probe(arguments.as_ptr()) });
                if status != 0 {
                    let cause = if lines.is_empty() { error_text(status) } else { lines };
                    return Err(error(cause));
                }
                find_port(&name).ok_or_else(|| error("it is no network device".into()))?
            }
        };
        open.insert(name.clone());
        Ok(Device {
            name,
            port,
            handle: info.device,
            started: AtomicBool::new(false),
            _mempool: mempool.clone(),
            _running: Arc::clone(&eal.running),
        })
    }

    /// The device's name: a PCI address or a vdev's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// DPDK's port id.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What the driver says of the port.
    pub(super) fn info(&self) -> Result<rte_eth_dev_info, i32> {
        dev_info(self.port)
    }

    /// Starts the port; it is stopped when the device goes.
    pub(super) fn start(&self) -> Result<(), i32> {
        // SAFETY: the port exists as long as `self`.
        let status = unsafe { dpdk_sys::rte_eth_dev_start(self.port) };
        if status != 0 {
            return Err(status);
        }
        self.started.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let mut open = open_devices();
        if self.started.load(Ordering::Relaxed) {
            // SAFETY: the port exists, and no queue of it is in use: each holds a reference to `self`.
            let status = unsafe { dpdk_sys::rte_eth_dev_stop(self.port) };
            if status != 0 {
                log::warn!("port {} did not stop: {}", self.name, error_text(status));
            }
        }
        // SAFETY: the port exists, is stopped, and nobody uses it any more.
        let status = unsafe { dpdk_sys::rte_eth_dev_close(self.port) };
        if status != 0 {
            log::warn!("port {} did not close: {}", self.name, error_text(status));
        }
        // SAFETY: the handle came from the driver and stays valid until this call unplugs the device.
        let status = unsafe { dpdk_sys::rte_dev_remove(self.handle) };
        if status != 0 {
            log::warn!("device {} was not unplugged: {}", self.name, error_text(status));
        }
        open.remove(&self.name);
    }
}

/// The driver's name, empty where it has none.
pub(super) fn driver_name(info: &rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: a terminated string constant of the driver, which stays loaded.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}

fn dev_info(port: u16) -> Result<rte_eth_dev_info, i32> {
    let mut info = rte_eth_dev_info::default();
    // SAFETY: any port number may be asked for, and `info` has room for the answer.
    match unsafe { dpdk_sys::rte_eth_dev_info_get(port, &raw mut info) } {
        0 => Ok(info),
        status => Err(status),
    }
}

/// The port of the device with that name.
fn find_port(name: &str) -> Option<(u16, rte_eth_dev_info)> {
    let mut next = 0;
    loop {
        // SAFETY: any number may be asked for; it answers with RTE_MAX_ETHPORTS when there is no further port.
        let port = unsafe { dpdk_sys::rte_eth_find_next_owned_by(next, 0) };
        let port = u16::try_from(port).ok().filter(|&port| u32::from(port) < dpdk_sys::RTE_MAX_ETHPORTS)?;
        if let Ok(info) = dev_info(port)
            && !info.device.is_null()
        {
            // SAFETY: the device of an existing port.
            let device = unsafe { dpdk_sys::rte_dev_name(info.device) };
            // SAFETY: a device's name is a terminated string that lives as long as the device, here until it is compared.
            if unsafe { CStr::from_ptr(device) }.to_bytes() == name.as_bytes() {
                return Some((port, info));
            }
        }
        next = port + 1;
    }
}

/// The PCI address of a device that is named by one, its arguments left off: what [`super::EalOptions`] wants to know of it.
pub fn pci_address(device: &str) -> Option<String> {
    let address = device.split(',').next()?;
    let hex = |text: &str, digits| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let (bus, function) = address.rsplit_once('.')?;
    let (bus, slot) = bus.rsplit_once(':')?;
    let (domain, bus) = bus.split_once(':').unwrap_or(("0000", bus));
    let is_address = hex(domain, 4) && hex(bus, 2) && hex(slot, 2) && hex(function, 1);
    is_address.then(|| address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        assert_eq!(pci_address("0000:3b:00.0"), Some("0000:3b:00.0".into()));
        assert_eq!(pci_address("3b:00.1"), Some("3b:00.1".into()));
        assert_eq!(pci_address("0000:3b:00.0,promisc=1"), Some("0000:3b:00.0".into()));
        for device in ["net_af_packet0,iface=eth0.5", "net_null0", "", "3b:00", "0000:3b:00.0.0", "zz:00.0"] {
            assert_eq!(pci_address(device), None, "{device}");
        }
    }
}
